// The audit log: who did what, and when.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { NONE, clock } from "./format.js";
import { empty, field, listing, select, table } from "./parts.js";

const ACTIONS = [["", "Everything"], ["cache", "Cache"], ["dead", "Dead letters"], ["schedule", "Schedule"], ["lane", "Lanes"], ["job", "Jobs"], ["token", "Tokens"]];
const LIMIT = 50;

export function audit(main, context, filters) {
  const room = h("div");
  const pages = h("div", { class: "pager" });
  let before = null;
  const form = h("form", { class: "filters", role: "search", "aria-label": "Audit", on: { submit: (event) => {
    event.preventDefault();
    context.go("audit", { ...filters, actor: new FormData(form).get("actor").trim() });
  } } },
    field("Action", select("action", ACTIONS, filters.action ?? "", (event) => context.go("audit", { ...filters, action: event.target.value }))),
    field("Who", h("input", { name: "actor", value: filters.actor ?? "", autocomplete: "off", spellcheck: "false", data: { search: "1" } })),
    h("button", { type: "submit" }, "Filter"));
  const reload = listing(room, () => get("/api/audit", { ...filters, limit: LIMIT, before }), ({ entries }) => {
    fill(pages,
      before !== null && h("button", { type: "button", data: { key: "newest" }, on: { click: () => turn(null) } }, "Newest"),
      entries.length === LIMIT && h("button", { type: "button", data: { key: "older" }, on: { click: () => turn(entries.at(-1).id) } }, "Older"));
    if (!entries.length) return empty("No actions yet", "Every invalidation, warming, retry and pause is recorded here.");
    return table("Actions", [
      { label: "When", kind: "main", cell: (entry) => h("time", { datetime: entry.at, title: entry.at }, clock(entry.at)) },
      { label: "Who", cell: (entry) => entry.actor },
      { label: "Action", cell: (entry) => h("strong", {}, entry.action) },
      { label: "With", kind: "wide mono", cell: (entry) => words(entry.arguments) },
      { label: "From", kind: "mono", cell: (entry) => entry.address ?? NONE },
    ], entries);
  });

  function turn(to) {
    before = to;
    reload();
  }

  fill(main, h("h1", {}, "Audit"), form, room, pages);
  reload();
  return { changed: (last) => String(last.audit), reload: () => before === null && reload() };
}

function words(found) {
  const pairs = Object.entries(found).filter(([, value]) => value !== false && !(Array.isArray(value) && !value.length));
  return pairs.map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(", ") : value === true ? "yes" : value}`).join(" · ") || NONE;
}
