// Lines over time, drawn by uPlot in the page's own colours; each says in words what it shows.

import { h, say } from "./dom.js";
import { NONE } from "./format.js";

const HEIGHT = 160;

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function begin(length, at) {
  const date = new Date(at * 1000);
  if (length === "hour" || length === "day") {
    return date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", hour12: false });
  }
  return date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
}

/** A chart: `series` are {label, color, values}, `format` turns a value into words. */
export class Chart {
  constructor(title, { format, from = 0, to = null, floor = 1 }) {
    this.title = title;
    this.format = format;
    this.range = [from, to];
    this.floor = floor;
    this.room = h("div", { class: "chart-room" });
    this.legend = h("ul", { class: "legend" });
    this.node = h("figure", { class: "chart" }, h("figcaption", {}, title), this.legend, this.room);
    this.resized = new ResizeObserver(() => this.plot?.setSize({ width: this.room.clientWidth, height: HEIGHT }));
    this.resized.observe(this.room);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.recolour = () => this.data && this.#draw();
    this.scheme.addEventListener("change", this.recolour);
  }

  close() {
    this.resized.disconnect();
    this.scheme.removeEventListener("change", this.recolour);
    this.plot?.destroy();
  }

  show(length, at, series) {
    const shape = JSON.stringify([length, series.map((one) => one.label)]);
    this.length = length;
    this.series = series;
    this.data = [at, ...series.map((one) => one.values)];
    if (this.shape === shape && this.plot) this.plot.setData(this.data);
    else this.#draw();
    this.shape = shape;
    this.#tell(null);
  }

  #tell(index) {
    const values = this.series.map((one) => {
      if (index !== null && index !== undefined) return one.values[index];
      return one.values.findLast((value) => value !== null) ?? null;
    });
    while (this.legend.children.length < this.series.length) this.legend.append(h("li", {}, h("i"), h("span"), h("b")));
    while (this.legend.children.length > this.series.length) this.legend.lastChild.remove();
    this.series.forEach((one, at) => {
      const [mark, label, value] = this.legend.children[at].children;
      mark.style.setProperty("--mark", `var(--${one.color})`);
      say(label, one.label);
      say(value, values[at] === null || values[at] === undefined ? NONE : this.format(values[at]));
    });
    if (index === null) {
      const words = this.series.map((one, at) => `${one.label} ${values[at] === null ? "no figures" : this.format(values[at])}`);
      this.room.setAttribute("role", "img");
      this.room.setAttribute("aria-label", `${this.title}, the last ${this.length}. Latest: ${words.join(", ") || "nothing yet"}`);
    }
  }

  #draw() {
    this.plot?.destroy();
    const grid = { stroke: css("--line"), width: 1 };
    const axis = { stroke: css("--muted"), font: `11px ${css("--font")}`, ticks: { show: false } };
    const low = this.range[0];
    this.plot = new uPlot({
      width: this.room.clientWidth || 300,
      height: HEIGHT,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      hooks: { setCursor: [(plot) => this.#tell(plot.cursor.idx ?? null)] },
      scales: {
        x: { time: true },
        y: { range: (_, min, max) => [low ?? min ?? 0, this.range[1] ?? Math.max((max ?? 0) * 1.08, this.floor)] },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 30, space: 70, values: (_, splits) => splits.map((at) => begin(this.length, at)) },
        { ...axis, grid, size: 56, space: 34, values: (_, splits) => splits.map((value) => this.format(value)) },
      ],
      series: [{}, ...this.series.map((one) => ({
        label: one.label,
        stroke: css(`--${one.color}`),
        fill: one.fill ? `${css(`--${one.color}`)}22` : undefined,
        width: 1.75,
        spanGaps: false,
        points: { show: (plot, at) => isLonely(plot.data[at]), size: 5, fill: css(`--${one.color}`) },
      }))],
    }, this.data, this.room);
  }
}

/** A value with nothing on either side would be invisible as a line. */
function isLonely(values) {
  return values.filter((value) => value !== null).length < 3;
}
