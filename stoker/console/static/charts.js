// Lines over time, in the page's own colours. A time without figures is a gap, drawn as one; what happened is a mark.

import { h, say } from "./dom.js";
import { NONE, zone } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 160;
const TOP = 8;
const BOTTOM = 22;
const RIGHT = 10;
const LETTER = 6.2; // the width of a letter of a label, at most on average

function draw(tag, props, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "color") node.style.setProperty("--mark", `var(--${value})`);
    else node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter(Boolean));
  return node;
}

/** From zero to at least `max`, in steps that people count in. */
function ticks(max) {
  const rough = max / 4;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((times) => times * size).find((found) => found >= rough * 0.999);
  const found = [0];
  while (found.at(-1) < max * 0.999) found.push(step * found.length);
  return found;
}

function time(at, options) {
  return new Date(at * 1000).toLocaleString("en-GB", { hour12: false, ...options });
}

const CLOCK = { hour: "2-digit", minute: "2-digit" };
const DAY = { day: "numeric", month: "short" };

/** A chart: `series` are {label, color, values, fill}, `format` turns a value into words. */
export class Chart {
  constructor(title, { format, to = null, floor = 1 }) {
    Object.assign(this, { title, format, to, floor, index: null });
    this.when = h("span", { class: "when" });
    this.legend = h("ul", { class: "legend" });
    this.room = h("div", { class: "chart-room", role: "img", tabindex: "0", on: {
      pointermove: (event) => this.#point(event),
      pointerleave: () => this.#tell(null),
      blur: () => this.#tell(null),
      keydown: (event) => this.#step(event),
    } });
    this.node = h("figure", { class: "chart" }, h("figcaption", {}, this.when, title), this.legend, this.room);
    this.resized = new ResizeObserver(() => this.period && this.#draw());
    this.resized.observe(this.room);
  }

  close() {
    this.resized.disconnect();
  }

  /** `period` is what /api/history answers: length, at, step_s, gaps, marks. `nothing` stands where no line is. */
  show(period, series, nothing = "No data") {
    this.period = period;
    this.series = series;
    this.nothing = series.some((one) => one.values.some((value) => value !== null)) ? "" : nothing;
    this.#draw();
    this.#tell(this.index);
  }

  #x(at) {
    const { at: steps, step_s: step } = this.period;
    return this.left + ((at - steps[0]) / (steps.at(-1) + step - steps[0])) * (this.width - this.left - RIGHT);
  }

  #y(value) {
    return TOP + (1 - value / this.top) * (HEIGHT - TOP - BOTTOM);
  }

  #draw() {
    const { at, step_s: step, length, gaps, marks } = this.period;
    const largest = Math.max(this.floor, ...this.series.flatMap((one) => one.values.map((value) => value ?? 0)));
    const grid = ticks(this.to ?? largest);
    this.top = grid.at(-1);
    const labels = grid.map((value) => (this.nothing ? "" : this.format(value)));
    this.width = this.room.clientWidth || 300;
    this.left = Math.ceil(Math.max(...labels.map((label) => label.length)) * LETTER) + 8;
    const low = this.#y(0);
    const end = at.at(-1) + step;
    const shown = Math.max(2, Math.min(6, Math.floor((this.width - this.left) / 80)));
    const begins = Array.from({ length: shown }, (_, number) => at[Math.round((number * (at.length - 1)) / shown)]);
    this.svg = draw("svg", { viewBox: `0 0 ${this.width} ${HEIGHT}`, "aria-hidden": "true" },
      gaps.map((gap) => draw("rect", { class: "gap", x: this.#x(gap.begun), y: TOP, width: this.#x(gap.ended) - this.#x(gap.begun), height: low - TOP })),
      grid.map((value, place) => [
        draw("line", { class: "grid", x1: this.left, x2: this.width - RIGHT, y1: this.#y(value), y2: this.#y(value) }),
        draw("text", { class: "end", x: this.left - 6, y: this.#y(value) + 4 }, labels[place]),
      ]),
      begins.map((moment, place) => draw("text", { class: place ? "middle" : "", x: this.#x(moment), y: HEIGHT - 6 }, time(moment, length === "hour" || length === "day" ? CLOCK : DAY))),
      marks.filter((mark) => mark.at >= at[0] && mark.at < end).map((mark) => draw("line", { class: "happened", x1: this.#x(mark.at), x2: this.#x(mark.at), y1: TOP, y2: low })),
      this.nothing && draw("text", { class: "middle nothing", x: (this.left + this.width - RIGHT) / 2, y: (TOP + low) / 2 - 8 }, this.nothing),
      this.series.map((one) => this.#line(one, low)));
    this.cursor = draw("line", { class: "cursor", y1: TOP, y2: low, visibility: "hidden" });
    this.svg.append(this.cursor);
    this.room.replaceChildren(this.svg);
  }

  #line({ values, color, fill }, low) {
    const { at, step_s: step } = this.period;
    const runs = [];
    values.forEach((value, place) => {
      if (value === null) return;
      if (!place || values[place - 1] === null) runs.push([]);
      runs.at(-1).push([this.#x(at[place] + step / 2), this.#y(Math.min(value, this.top))]);
    });
    const path = (run) => run.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L");
    return runs.map((run) => (run.length === 1
      ? draw("circle", { color, cx: run[0][0], cy: run[0][1], r: 2.5 })
      : [
        fill && draw("path", { class: "area", color, d: `M${run[0][0]},${low}L${path(run)}L${run.at(-1)[0]},${low}Z` }),
        draw("path", { class: "line", color, d: `M${path(run)}` }),
      ])).flat();
  }

  #point(event) {
    const { at } = this.period;
    const share = (event.clientX - this.svg.getBoundingClientRect().left - this.left) / (this.width - this.left - RIGHT);
    this.#tell(Math.max(0, Math.min(at.length - 1, Math.floor(share * at.length))));
  }

  #step(event) {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const last = this.period.at.length - 1;
    this.#tell(this.index === null ? last : Math.max(0, Math.min(last, this.index + way)));
  }

  #tell(index) {
    this.index = index;
    const values = this.series.map((one) => (index === null ? one.values.findLast((value) => value !== null) : one.values[index]) ?? null);
    while (this.legend.children.length < this.series.length) this.legend.append(h("li", {}, h("i"), h("span"), h("b")));
    while (this.legend.children.length > this.series.length) this.legend.lastChild.remove();
    this.series.forEach((one, place) => {
      const [mark, label, value] = this.legend.children[place].children;
      mark.style.setProperty("--mark", `var(--${one.color})`);
      say(label, one.label);
      say(value, values[place] === null ? NONE : this.format(values[place]));
    });
    say(this.when, index === null ? "" : this.#moment(index));
    this.cursor.setAttribute("visibility", index === null ? "hidden" : "visible");
    if (index !== null) for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, this.#x(this.period.at[index] + this.period.step_s / 2));
    const words = this.series.map((one, place) => `${one.label} ${values[place] === null ? "no figures" : this.format(values[place])}`);
    const which = index === null ? `the last ${this.period.length}. Latest` : this.#moment(index);
    this.room.setAttribute("aria-label", `${this.title}, ${which}: ${this.nothing || words.join(", ")}`);
  }

  /** The time of a step, in words, with what is missing and what happened then. */
  #moment(index) {
    const { at, step_s: step, length, gaps, marks } = this.period;
    const begun = at[index];
    const end = begun + step;
    const day = length === "hour" ? {} : DAY;
    const span = step >= 86400 ? time(begun, DAY) : `${time(begun, { ...day, ...CLOCK })} to ${time(end, CLOCK)}`;
    const beside = [
      ...gaps.filter((gap) => gap.begun < end && gap.ended > begun).map((gap) => gap.why),
      ...marks.filter((mark) => mark.at >= begun && mark.at < end).map((mark) => mark.says),
    ];
    return [`${span}, ${zone().split(" ")[0]}`, ...beside].join("; ");
  }
}
