// Dead letters: filter them, and retry or discard those of one cause, of a filter, or all. Filters live in the address.

import { get, post } from "./api.js";
import { fill, h } from "./dom.js";
import { NONE, ago, clock, count, plural } from "./format.js";
import { act, confirm, empty, errorText, field, listing, panel, table } from "./parts.js";
import { show } from "./jobs.js";

const PAGE = 100;

export function dead(main, context, filters) {
  const room = h("div");
  const head = h("div", { class: "section-actions" });
  const number = h("p", { class: "muted", role: "status" });
  const filtered = Object.values(filters).some(Boolean);
  const input = (name, placeholder, more = {}) => h("input", { name, value: filters[name] ?? "", placeholder, autocomplete: "off", spellcheck: "false", ...more });
  const form = h("form", { class: "filters", role: "search", "aria-label": "Dead letters", on: { submit: (event) => {
    event.preventDefault();
    context.go("dead", Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()])));
  } } },
    field("Error", input("error", "part of its message", { type: "search", data: { search: "1" } })),
    field("Kind", input("kind", "refresh.v1")),
    field("View", input("view", "of a refresh")),
    field("Since", input("since", "2h or 14:00 (UTC)")),
    h("button", { type: "submit" }, "Filter"),
    filtered && h("button", { type: "button", class: "quiet", on: { click: () => context.go("dead") } }, "Clear"));
  const load = () => Promise.all([get("/api/jobs/dead/groups", filters), get("/api/jobs/dead/count", filters)]);
  const reload = listing(room, load, ([{ groups }, all]) => {
    number.textContent = filtered ? `${count(all.letters)} of ${plural(all.of, "dead letter")} match.` : all.of ? plural(all.of, "dead letter") : "";
    const which = filtered ? filters : { all: true };
    fill(head, context.operator && all.letters > 0 && (filtered || groups.length > 1) && buttons(which, all, filtered ? "that match the filter" : "of every cause", reload, "all"));
    if (!groups.length) return filtered ? empty("No dead letter matches", `${plural(all.of, "dead letter")} in all.`) : empty("No dead letters", "Jobs that cannot succeed appear here with their errors, until an operator retries or discards them.");
    return h("ul", { class: "groups" }, groups.map((group) => draw(group, all, filters, context, reload)));
  });
  fill(main, h("div", { class: "section-head" }, h("h1", {}, "Dead letters"), head), form, number, room);
  reload();
  return { changed: (last, picture) => JSON.stringify([last.dead, Object.values(picture.lanes ?? {}).map((lane) => lane.dead)]), reload };
}

function draw(group, all, filters, context, reload) {
  const which = { ...filters, fingerprint: group.fingerprint };
  return h("li", { class: "card group" },
    h("div", { class: "group-head" },
      h("span", { class: "tally" }, count(group.letters)),
      h("div", { class: "grow" },
        h("h2", {}, group.kind),
        h("p", { class: "muted" }, `${group.reason} in lane ${group.lane} · last ${ago(group.last_died_at)}`, group.letters > 1 && ` · first ${ago(group.first_died_at)}`)),
      h("div", { class: "actions" },
        h("button", { type: "button", data: { key: `see-${group.fingerprint}` }, on: { click: () => letters(group, which, context) } }, group.letters === 1 ? "Show it" : "Show them"),
        context.operator && buttons(which, { ...all, letters: group.letters }, `of ${group.kind}`, reload, group.fingerprint))),
    errorText(group));
}

/** What is confirmed is what is done: letters that arrive after the number was shown are left alone. */
function buttons(which, all, what, reload, key) {
  const number = all.letters;
  const jobs = plural(number, "job");
  const lettersOf = plural(number, "dead letter");
  const chosen = { ...Object.fromEntries(Object.entries(which).filter(([, value]) => value)), up_to: all.newest };
  const name = (verb) => (key === "all" ? `${verb} all ${count(number)}` : number > 1 ? `${verb} ${count(number)}` : verb);
  return [
    h("button", { type: "button", data: { key: `retry-${key}` }, on: { click: async (event) => {
      const button = event.currentTarget;
      if (!(await confirm({ title: `Retry ${jobs}?`, text: `${jobs} ${what}, of ${plural(all.of, "dead letter")} in all, will go back to the lane as new jobs.`, action: `Retry ${jobs}` }))) return;
      await act(button, async () => {
        const done = await post("/api/jobs/dead/retry", chosen);
        return `${plural(done.retried, "job")} retried${done.unreadable ? `; ${count(done.unreadable)} cannot be read by this release` : ""}. ${plural(done.left, "dead letter")} left.`;
      });
      reload();
    } } }, name("Retry")),
    h("button", { type: "button", class: "danger", data: { key: `discard-${key}` }, on: { click: async (event) => {
      const button = event.currentTarget;
      if (!(await confirm({ title: `Discard ${lettersOf}?`, text: `${lettersOf} ${what}, of ${count(all.of)} in all, will be deleted for good.`, action: `Discard ${lettersOf}`, danger: true }))) return;
      await act(button, async () => {
        const done = await post("/api/jobs/dead/discard", chosen);
        return `${plural(done.discarded, "dead letter")} discarded. ${plural(done.left, "dead letter")} left.`;
      });
      reload();
    } } }, name("Discard")),
  ];
}

function letters(group, which, context) {
  const opened = panel(group.kind, h("div"));
  let before = null;
  const reload = listing(opened.room, () => get("/api/jobs/dead", { ...which, limit: PAGE, before }), ({ dead: found, matching }) =>
    found.length ? [
      h("p", { class: "muted" }, `${count(found.length)} of ${count(matching)}`),
      table("Dead letters", [
        { label: "Job", kind: "mono main", cell: (letter) => letter.job_id },
        { label: "Scope", kind: "mono", cell: (letter) => letter.scope ?? NONE },
        { label: "View", cell: (letter) => letter.view ?? NONE },
        { label: "Tries", kind: "number", cell: (letter) => count(letter.attempts) },
        { label: "Died", kind: "number", cell: (letter) => clock(letter.died_at) },
      ], found, { key: (letter) => letter.id, open: (letter) => show(letter.job_id, context), openLabel: (letter) => `Open job ${letter.job_id}` }),
      h("div", { class: "pager" },
        before !== null && h("button", { type: "button", on: { click: () => turn(null) } }, "Newest"),
        found.length === PAGE && h("button", { type: "button", on: { click: () => turn(found.at(-1).id) } }, "Older")),
    ] : empty("None left", "They were retried or discarded meanwhile."));
  function turn(to) {
    before = to;
    reload();
  }
  reload();
}
