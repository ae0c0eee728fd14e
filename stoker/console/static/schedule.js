// The schedule: when each task runs next, how it ran lately; run now, pause, resume.

import { get, post } from "./api.js";
import { fill, h } from "./dom.js";
import { NONE, clock, every, seconds, until } from "./format.js";
import { act, empty, facts, listing, state } from "./parts.js";

export function schedule(main, context) {
  const room = h("div");
  const reload = listing(room, () => get("/api/schedule"), ({ tasks }) =>
    tasks.length ? h("ul", { class: "groups tasks" }, tasks.map((task) => draw(task, context, reload))) : empty("Nothing is scheduled", "The application's domain declares the schedule."));
  fill(main, h("h1", {}, "Schedule"), room);
  reload();
  return { changed: (last) => String(Math.floor(last.jobs / 5)), reload, everyMs: 5000 };
}

function draw(task, context, reload) {
  const last = task.slots.find((slot) => slot.state !== "skipped");
  return h("li", { class: "card task" },
    h("div", { class: "section-head" },
      h("div", {}, h("h2", {}, task.name.replaceAll("_", " ")), h("p", { class: "muted" }, `${task.kind} · ${task.when.startsWith("every ") ? every(task.every_s) : task.when}`)),
      context.operator && h("div", { class: "actions" }, buttons(task, reload))),
    facts([
      ["Next", task.paused_at ? state("parked", `paused by ${task.paused_by}`) : h("time", { datetime: task.next_at, title: clock(task.next_at) }, until(task.next_at))],
      ["Last", last ? h("time", { datetime: last.slot }, clock(last.slot)) : "never"],
      ["Took", seconds(last?.ran_s)],
      ["Late by", last ? (last.asked_by ? "by hand" : seconds(Math.round(last.late_s * 1000) / 1000)) : NONE],
    ]),
    task.slots.length > 0 && h("details", { data: { key: `runs-${task.name}` } }, h("summary", {}, "Last runs"), h("ol", { class: "timeline" }, task.slots.map(drawSlot))));
}

function drawSlot(slot) {
  const ended = slot.outcome ?? slot.state;
  return h("li", {},
    h("div", {}, state(ended === "done" && !slot.outcome ? "claimed" : ended, slot.outcome ?? (slot.state === "done" ? "enqueued" : slot.state)), h("time", { datetime: slot.slot }, clock(slot.slot)), slot.asked_by && h("span", { class: "muted" }, ` by ${slot.asked_by}`)),
    h("p", { class: "muted" }, [`late by ${seconds(slot.late_s)}`, slot.ran_s !== null && `ran ${seconds(slot.ran_s)}`].filter(Boolean).join(", ")),
    slot.error && h("p", { class: "error" }, slot.error));
}

function buttons(task, reload) {
  const name = task.name.replaceAll("_", " ");
  async function ask(button, verb, said) {
    await act(button, async () => {
      await post(`/api/schedule/${task.name}/${verb}`);
      return said;
    });
    reload();
  }
  const verb = task.paused_at ? "resume" : "pause";
  return [
    h("button", { type: "button", data: { key: `run-${task.name}` }, "aria-label": `Run ${name} now`, on: { click: (event) => ask(event.currentTarget, "run", `${name} is enqueued.`) } }, "Run now"),
    h("button", { type: "button", data: { key: `hold-${task.name}` }, "aria-label": `${verb} ${name}`, on: { click: (event) => ask(event.currentTarget, verb, verb === "pause" ? `${name} is paused.` : `${name} runs again.`) } }, verb === "pause" ? "Pause" : "Resume"),
  ];
}
