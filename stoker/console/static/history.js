// Figures over time: eight charts of one period, loaded again every few seconds while the page is visible.

import { get } from "./api.js";
import { Chart } from "./charts.js";
import { fill, h } from "./dom.js";
import { percent, rate, seconds, zone } from "./format.js";
import { failed, loading } from "./parts.js";

const COLOURS = ["a", "b", "c", "d", "e", "f", "g", "h"].map((letter) => `lane-${letter}`);
const CAUSES = { cold: "lane-a", expired: "lane-c", invalidated: "lane-b", restarted: "lane-f", access: "lane-e", evicted: "bad", undecodable: "warn", forged: "bad", bypass: "muted" };
const LENGTHS = [["hour", "Hour"], ["day", "Day"], ["month", "Month"], ["year", "Year"]];
const RELOAD_MS = 10000;

export function history() {
  const hits = new Chart("Hit rate", { format: percent, to: 1 });
  const misses = new Chart("Misses a minute, by cause", { format: rate });
  const done = new Chart("Jobs finished a minute", { format: rate });
  const wait = new Chart("p99 wait of jobs", { format: seconds, floor: 0.01 });
  const reads = new Chart("p99 of reads", { format: seconds, floor: 0.004 });
  const errors = new Chart("Failed reads a minute", { format: rate });
  const applied = new Chart("Changes applied a minute", { format: rate });
  const oldest = new Chart("Oldest change not applied", { format: seconds });
  const all = [reads, errors, hits, misses, done, wait, applied, oldest];
  const trouble = h("div", {}, loading());
  const charts = h("div", { class: "charts", hidden: true }, all.map((chart) => chart.node));
  let length = sessionStorage.getItem("length") ?? "hour";
  const choices = LENGTHS.map(([value, label]) => h("button", {
    type: "button", data: { key: `length-${value}`, value }, "aria-pressed": String(value === length), on: { click: () => choose(value) },
  }, label));

  function choose(value) {
    length = value;
    sessionStorage.setItem("length", value);
    for (const button of choices) button.setAttribute("aria-pressed", String(button.dataset.value === value));
    reload();
  }

  async function reload() {
    const asked = length;
    try {
      const found = await get("/api/history", { length: asked });
      if (asked !== length) return;
      fill(trouble);
      charts.hidden = false;
      draw(found);
    } catch (error) {
      if (error.status !== 0) fill(trouble, failed(error, reload));
    }
  }

  function draw(found) {
    const show = (chart, series, nothing) => chart.show(found, series, nothing);
    const counted = (rates) => rates.some((rate) => rate.some((value) => value !== null));
    const noReads = counted(Object.values(found.views).map((view) => view.reads_per_minute)) ? "No reads" : "No data";
    const noMisses = noReads === "No reads" && found.hit_rate.some((value) => value !== null) ? "No misses" : noReads;
    const noJobs = counted(Object.values(found.lanes).map((lane) => lane.done_per_minute)) ? "No jobs" : "No data";
    const views = Object.entries(found.views).filter(([, view]) => view.hit_rate.some((value) => value !== null));
    show(hits, [{ label: "all", color: "accent", values: found.hit_rate, fill: true }, ...lines(views, "hit_rate")], noReads);
    const read = Object.entries(found.views).filter(([, view]) => view.read_p99_s.some((value) => value !== null));
    show(reads, lines(read, "read_p99_s"), noReads);
    show(errors, lines(read, "errors_per_minute"), noReads);
    show(misses, Object.entries(found.misses_per_minute)
      .filter(([, values]) => values.some(Boolean))
      .map(([label, values]) => ({ label, color: CAUSES[label] ?? "muted", values })), noMisses);
    show(done, lines(Object.entries(found.lanes), "done_per_minute"));
    show(wait, lines(Object.entries(found.lanes), "wait_p99_s"), noJobs);
    show(applied, [{ label: "applied", color: "accent", values: found.applied_per_minute, fill: true }]);
    show(oldest, [{ label: "age", color: "accent", values: found.oldest_unsettled_s, fill: true }]);
  }

  const timer = setInterval(() => document.hidden || reload(), RELOAD_MS);
  reload();
  return {
    node: h("section", { class: "history", "aria-label": "Over time" },
      h("div", { class: "section-head" }, h("h2", {}, "Over time"), h("p", { class: "muted" }, `Times in ${zone()}`), h("div", { class: "segments", role: "group", "aria-label": "How far back" }, choices)),
      trouble, charts),
    close: () => {
      clearInterval(timer);
      for (const chart of all) chart.close();
    },
  };
}

function lines(found, what) {
  return found.map(([label, one], at) => ({ label, color: COLOURS[at % COLOURS.length], values: one[what] }));
}
