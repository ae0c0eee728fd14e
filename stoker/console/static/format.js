// Figures as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

export const NONE = "–";

export function count(value) {
  return value === null || value === undefined ? NONE : whole.format(value);
}

export function rate(value) {
  if (value === null || value === undefined) return NONE;
  return value === 0 ? "0" : value < 1 ? fine.format(value) : value < 100 ? short.format(value) : whole.format(value);
}

export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function percent(value) {
  if (value === null || value === undefined) return NONE;
  const share = value * 100;
  // Never round up to 100 % what is not all of it.
  if (value < 1 && share > 99.9) return `${Math.floor(share * 1000) / 1000} %`;
  return `${share >= 10 || share === 0 ? short.format(share) : fine.format(share)} %`;
}

export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0 s";
  if (value < 0.001) return "< 1 ms";
  if (value < 1) return `${value < 0.01 ? short.format(value * 1000) : whole.format(value * 1000)} ms`;
  if (value < 60) return `${value < 10 ? short.format(value) : whole.format(value)} s`;
  if (value < 3600) return `${whole.format(Math.floor(value / 60))} min ${pad(value % 60)} s`;
  if (value < 86400) return `${whole.format(Math.floor(value / 3600))} h ${pad((value % 3600) / 60)} min`;
  return `${short.format(value / 86400)} d`;
}

/** The zone in which this page says times, as `Europe/Berlin (UTC+01:00)`. */
export function zone() {
  const minutes = -new Date().getTimezoneOffset();
  const offset = `${minutes < 0 ? "-" : "+"}${pad(Math.abs(minutes) / 60)}:${pad(Math.abs(minutes) % 60)}`;
  return `${Intl.DateTimeFormat().resolvedOptions().timeZone} (UTC${offset})`;
}

export function every(value) {
  if (value % 86400 === 0) return value === 86400 ? "every day" : `every ${value / 86400} days`;
  if (value % 3600 === 0) return value === 3600 ? "every hour" : `every ${value / 3600} hours`;
  if (value % 60 === 0) return value === 60 ? "every minute" : `every ${value / 60} minutes`;
  return `every ${short.format(value)} s`;
}

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1024) return `${value} B`;
  if (value < 1048576) return `${short.format(value / 1024)} KiB`;
  return value < 1073741824 ? `${short.format(value / 1048576)} MiB` : `${short.format(value / 1073741824)} GiB`;
}

/** What is said in the middle of a sentence, as one of its own. */
export function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function ago(moment) {
  if (!moment) return NONE;
  const past = (Date.now() - new Date(moment).getTime()) / 1000;
  if (past < -1) return `in ${coarse(-past)}`;
  return past < 2 ? "just now" : `${coarse(past)} ago`;
}

export function until(moment) {
  if (!moment) return NONE;
  const left = (new Date(moment).getTime() - Date.now()) / 1000;
  return left <= 0 ? "now" : `in ${coarse(left)}`;
}

export function clock(moment) {
  if (!moment) return NONE;
  const date = new Date(moment);
  const time = date.toLocaleTimeString("en-GB", { hour12: false });
  return date.toDateString() === new Date().toDateString()
    ? time
    : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

function coarse(value) {
  if (value < 60) return `${Math.max(1, Math.round(value))} s`;
  if (value < 3600) return `${Math.round(value / 60)} min`;
  if (value < 86400) return `${Math.round(value / 3600)} h`;
  return plural(Math.round(value / 86400), "day");
}

function pad(value) {
  return String(Math.floor(value)).padStart(2, "0");
}
