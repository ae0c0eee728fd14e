// Workers: what each process does, and whether there are enough of them.

import { get, post } from "./api.js";
import { fill, h } from "./dom.js";
import { NONE, ago, bytes, count, percent, rate, seconds, sentence } from "./format.js";
import { act, empty, listing, state, table } from "./parts.js";

const TONES = { running: "valid", quiet: "parked", silent: "dead", stopped: "absent" };

export function workers(main, context) {
  const lanes = h("div");
  const room = h("div");
  const reloadLanes = listing(lanes, () => get("/api/workers/capacity"), drawCapacity);
  const reload = listing(room, () => get("/api/workers"), (found) => (found.workers.length ? draw(found.workers, context, () => reload()) : empty("No worker has reported in the last hour", "Start one: stoker run.")));
  let loads = false;
  // An answer may take longer than the interval while a server is away: a newer question would drop it.
  async function both() {
    if (loads) return;
    loads = true;
    await Promise.all([reload(), reloadLanes()]);
    loads = false;
  }
  fill(main, h("h1", {}, "Workers"), room, lanes);
  both();
  const timer = setInterval(() => { if (!document.hidden) both(); }, 5000);
  return { close: () => clearInterval(timer) };
}

function draw(rows, context, reload) {
  const columns = [
    { label: "Worker", kind: "main mono", cell: (one) => one.name },
    { label: "State", cell: (one) => state(TONES[one.state], one.state) },
    { label: "Busy", kind: "number", cell: (one) => `${count(one.busy)} of ${count(one.slots)}` },
    { label: "Lanes", kind: "wide", cell: (one) => Object.entries(one.lanes).map(([lane, of]) => `${lane} ${of.busy}/${of.slots}`).join(", ") || NONE },
    { label: "Memory", kind: "number", cell: (one) => bytes(one.memory_bytes) },
    { label: "Release", cell: (one) => one.release },
    { label: "Started", kind: "number", cell: (one) => ago(one.started_at) },
    { label: "Last report", kind: "number", cell: (one) => `${seconds(Math.round(one.silent_s))} ago` },
  ];
  if (context.operator) columns.push({ label: "Action", kind: "actions", cell: (one) => quietButton(one, reload) });
  return table("Processes of the last hour", columns, rows, { key: (one) => one.name });
}

function quietButton(worker, reload) {
  if (worker.state !== "running" && worker.state !== "quiet") return null;
  const quiet = worker.state === "running";
  return h("button", { type: "button", class: "small", data: { key: `quiet-${worker.name}` }, "aria-label": `${quiet ? "Quiet" : "Resume"} ${worker.name}`, title: quiet ? "It takes no new jobs; running ones go on" : "", on: { click: async (event) => {
    await act(event.currentTarget, async () => {
      await post("/api/workers/quiet", { name: worker.name, quiet });
      return quiet ? "The worker takes no new jobs." : "The worker takes jobs again.";
    });
    reload();
  } } }, quiet ? "Quiet" : "Resume");
}

function drawCapacity(found) {
  const rows = Object.entries(found.lanes).map(([lane, of]) => ({ lane, ...of }));
  const suggestions = rows.map((one) => one.suggestion).filter(Boolean);
  return [
    suggestions.length > 0 && h("ul", { class: "card says" }, suggestions.map((text) => h("li", {}, sentence(text)))),
    table("Capacity", [
      { label: "Lane", kind: "main", cell: (one) => [one.lane, one.paused && state("parked", "paused")] },
      { label: "Workers", kind: "number", cell: (one) => count(one.workers) },
      { label: "Slots", kind: "number", cell: (one) => count(one.slots) },
      { label: "Used, last 5 min", kind: "number", cell: (one) => (one.used === null ? NONE : percent(one.used)) },
      { label: "Ready", kind: "number", cell: (one) => count(one.ready) },
      { label: "Done per second", kind: "number", cell: (one) => rate(one.done_per_s) },
      { label: "Time to drain", kind: "number", cell: (one) => (one.ready ? seconds(one.drain_s) : NONE) },
    ], rows, { key: (one) => one.lane }),
  ];
}
