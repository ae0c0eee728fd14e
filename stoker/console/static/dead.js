// Dead letters by cause: retry or discard those of one cause, or all of them.

import { get, post } from "./api.js";
import { fill, h } from "./dom.js";
import { ago, clock, count, plural } from "./format.js";
import { act, confirm, empty, listing, panel, table } from "./parts.js";
import { show } from "./jobs.js";

export function dead(main, context) {
  const room = h("div");
  const bulk = h("div", { class: "section-actions" });
  const reload = listing(room, () => get("/api/jobs/dead/groups"), ({ groups }) => {
    const all = groups.reduce((sum, group) => sum + group.letters, 0);
    fill(bulk, context.operator && groups.length > 1 && buttons({ all: true }, all, "of every cause", reload, "all"));
    if (!groups.length) return empty("No dead letters", "Jobs that cannot succeed appear here with their errors, until an operator retries or discards them.");
    return h("ul", { class: "groups" }, groups.map((group) => draw(group, context, reload)));
  });
  fill(main, h("div", { class: "section-head" }, h("h1", {}, "Dead letters"), bulk), room);
  reload();
  return { changed: (last, picture) => JSON.stringify([last.dead, Object.values(picture.lanes ?? {}).map((lane) => lane.dead)]), reload };
}

function draw(group, context, reload) {
  return h("li", { class: "card group" },
    h("div", { class: "group-head" },
      h("span", { class: "tally" }, count(group.letters)),
      h("div", {},
        h("h2", {}, group.kind),
        h("p", { class: "muted" }, `${group.reason} in lane ${group.lane} · last ${ago(group.last_died_at)}`, group.letters > 1 && ` · first ${ago(group.first_died_at)}`))),
    h("p", { class: "error" }, group.error),
    h("div", { class: "actions" },
      h("button", { type: "button", data: { key: `see-${group.fingerprint}` }, on: { click: () => letters(group, context) } }, group.letters === 1 ? "Show it" : "Show them"),
      context.operator && buttons({ fingerprint: group.fingerprint }, group.letters, `of ${group.kind}`, reload, group.fingerprint)));
}

function buttons(which, number, what, reload, key) {
  const jobs = plural(number, "job");
  const lettersOf = plural(number, "dead letter");
  return [
    h("button", { type: "button", data: { key: `retry-${key}` }, on: { click: async (event) => {
      const button = event.currentTarget;
      if (!(await confirm({ title: `Retry ${jobs}?`, text: `${jobs} ${what} will go back to the lane as new jobs.`, action: `Retry ${jobs}` }))) return;
      await act(button, async () => {
        const done = await post("/api/jobs/dead/retry", which);
        return done.unreadable ? `${plural(done.retried, "job")} retried; ${count(done.unreadable)} cannot be read by this release.` : `${plural(done.retried, "job")} retried.`;
      });
      reload();
    } } }, which.all ? `Retry all ${count(number)}` : number > 1 ? `Retry ${count(number)}` : "Retry"),
    h("button", { type: "button", class: "danger", data: { key: `discard-${key}` }, on: { click: async (event) => {
      const button = event.currentTarget;
      if (!(await confirm({ title: `Discard ${lettersOf}?`, text: `${lettersOf} ${what} will be deleted for good.`, action: `Discard ${lettersOf}`, danger: true }))) return;
      await act(button, async () => `${plural((await post("/api/jobs/dead/discard", which)).discarded, "dead letter")} discarded.`);
      reload();
    } } }, which.all ? `Discard all ${count(number)}` : number > 1 ? `Discard ${count(number)}` : "Discard"),
  ];
}

function letters(group, context) {
  const opened = panel(group.kind, h("div"));
  const reload = listing(opened.room, () => get("/api/jobs/dead", { fingerprint: group.fingerprint, limit: 100 }), ({ dead: found }) =>
    found.length ? [
      group.letters > found.length && h("p", { class: "muted" }, `The latest ${count(found.length)} of ${count(group.letters)}.`),
      table("Dead letters", [
        { label: "Job", kind: "mono main", cell: (letter) => letter.job_id },
        { label: "Tries", kind: "number", cell: (letter) => count(letter.attempts) },
        { label: "Died", kind: "number", cell: (letter) => clock(letter.died_at) },
      ], found, { key: (letter) => letter.id, open: (letter) => show(letter.job_id, context), openLabel: (letter) => `Open job ${letter.job_id}` }),
    ] : empty("None left", "They were retried or discarded meanwhile."));
  reload();
}
