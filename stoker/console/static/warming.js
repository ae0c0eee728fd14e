// Predicted warming: who chooses what is warmed, what that costs, and what came of it.

import { fill, h } from "./dom.js";
import { NONE, clock, count, percent, plural, rate, seconds, sentence } from "./format.js";
import { empty, facts, state, table, unknown, whenChanged } from "./parts.js";

const MODES = {
  live: ["running", "It chooses what is warmed, within its budget."],
  shadow: ["deferred", "It learns and compares; what it would choose is not warmed."],
  unknown: ["parked", "A worker of another release predicts. What it does is not known here."],
  silent: ["parked", "No worker predicts: the schedule warms by the default plan."],
  off: ["absent", "It has no budget: the schedule warms by the default plan."],
};

export function warming(room) {
  const body = h("div");
  fill(room, h("section", { class: "card", "aria-label": "Predicted warming" }, body));
  return (picture) => whenChanged(body, [picture.prediction, picture.missing.prediction], () => draw(picture));
}

function draw(picture) {
  const found = picture.prediction;
  const [tone, says] = MODES[found?.mode] ?? [];
  return [
    h("div", { class: "section-head" }, h("h2", {}, "Predicted warming"), found && state(tone, found.mode)),
    found ? [h("p", {}, says), h("p", { class: "muted" }, sentence(found.why)), found.figures && drawFigures(found)] : empty("Not known", `${unknown(picture, "prediction")}.`),
  ];
}

function drawFigures({ figures, in_force: inForce, predicted_by: by, planned_at: planned, learnt_at: learnt }) {
  return [
    facts([
      ["Chosen by", inForce],
      ["Budget", `${seconds(figures.budget_s)} a minute`],
      ["Spent", seconds(figures.spent_s)],
      ["Wasted", seconds(figures.wasted_s)],
      ["Warmed", plural(figures.warmed, "entry", "entries")],
      ["Used in time", figures.warmed ? `${count(figures.used)} (${percent(figures.used / figures.warmed)})` : NONE],
      ["Threshold", rate(figures.threshold)],
      ["Known", `${plural(figures.known_entries, "entry", "entries")}, ${plural(figures.known_readers, "reader")}`],
      ["Last plan", h("time", { datetime: planned }, clock(planned))],
      ["Training kept", learnt ? h("time", { datetime: learnt }, clock(learnt)) : "not yet"],
      ["Predicted by", by ?? "nobody"],
    ]),
    h("div", { class: "halves" },
      table("The last day, each at the same budget", [
        { label: "Chosen by", kind: "main", cell: (one) => one.name },
        { label: "Misses", kind: "number", cell: (one) => count(one.misses) },
        { label: "Waited", kind: "number", cell: (one) => seconds(one.missed_s) },
        { label: "Warming", kind: "number", cell: (one) => seconds(one.spent_s) },
      ], Object.entries(figures.contest).map(([name, one]) => ({ name, ...one })).sort((one, other) => other.misses - one.misses), { compact: true, key: (one) => one.name }),
      figures.calibration.length > 0 && table("Calibration: of what was predicted, what was read", [
        { label: "Predicted", kind: "main", cell: (one) => percent(one.predicted) },
        { label: "Read", kind: "number", cell: (one) => percent(one.read) },
        { label: "Counts as", kind: "number", cell: (one) => percent(one.counts_as) },
        { label: "Examples", kind: "number", cell: (one) => count(one.examples) },
      ], figures.calibration, { compact: true, key: (one) => String(one.predicted) })),
  ];
}
