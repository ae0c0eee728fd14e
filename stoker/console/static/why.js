// Why: one entry explained, one change followed, a scope compared with SQL, and what the verifier found.

import { get, post } from "./api.js";
import { fill, h } from "./dom.js";
import { NONE, ago, clock, count, plural, seconds } from "./format.js";
import { act, card, empty, facts, failed, listing, loading, panel, state, table } from "./parts.js";

async function opened(title, load, draw) {
  const { room } = panel(title, loading());
  try {
    fill(room, draw(await load()));
  } catch (error) {
    fill(room, failed(error));
  }
}

/** What a read of an entry does now, and why. */
export function explain(view, id, params) {
  return opened(`Why: ${view} of ${id}`, () => get("/api/cache/explain", { view, id, params }), (found) => [
    h("ul", { class: "says" }, found.says.map((sentence) => h("li", {}, sentence))),
    facts([
      ["State", state(found.entry.state)],
      ["Age", seconds(found.entry.age_s)],
      ["Expires in", found.entry.state === "valid" ? seconds(found.entry.expires_in_s) : NONE],
      ["Built by", found.builder ? `${found.builder.by} in ${found.builder.process}` : NONE],
      ["Last read", ago(found.demand.read_at)],
      ["Kept warm", found.demand.kept_warm ? "yes" : "no, not read since it was built"],
      ["Who may read", [found.access.rule, found.access.number !== null && `: ${count(found.access.number)}`]],
      Object.keys(found.access.readers).length > 0 && ["Some of them", Object.entries(found.access.readers).map(([name, role]) => `${name} (${role})`).join(", ")],
    ]),
    h("h3", {}, "Stamps"),
    h("ul", { class: "stamps" }, found.stamps.map((stamp) => h("li", {}, state(stamp.present ? "valid" : "absent", stamp.present ? "present" : "missing"), h("span", {}, stamp.name), h("span", { class: "muted" }, stamp.made_at ? `made ${ago(stamp.made_at)}` : "nothing was built since")))),
    h("h3", {}, `Last changes, among ${plural(found.events_searched, "event")}`),
    found.events.length ? h("ol", { class: "timeline" }, found.events.map((event) => drawEvent(event, found.rules[event.kind]))) : h("p", { class: "muted" }, "None."),
  ]);
}

function drawEvent(event, rule) {
  return h("li", {},
    h("div", {}, state({ applied: "done", failing: "dead", waiting: "running" }[event.state], event.state), h("button", { type: "button", class: "link", on: { click: () => follow(event.id) } }, `${event.kind}, event ${event.id}`), h("time", { datetime: event.recorded_at }, clock(event.recorded_at))),
    h("p", { class: "muted" }, `recorded by ${event.recorded_by}; ${event.applied_at ? `applied after ${seconds(event.lag_s)}${event.applied_by ? ` by ${event.applied_by}` : ""}` : `not applied for ${seconds(event.lag_s)}`}`, rule && `; rule: ${rule}`),
    event.error && h("p", { class: "error" }, event.error));
}

/** One change, from its commit to the reads that saw its effect. */
export function follow(id) {
  return opened(`Event ${id}`, () => get(`/api/events/${id}`), ({ event, rule, steps }) => [
    facts([
      ["Kind", event.kind],
      ["State", state({ applied: "done", failing: "dead", waiting: "running" }[event.state], event.state)],
      ["Invalidates", event.scopes.map((one) => `${one.scope}${one.views.length ? ` (${one.views.join(", ")})` : ""}`).join("; ")],
      ["Rule", rule ?? "none in this release"],
    ]),
    h("h3", {}, "What happened"),
    h("ol", { class: "timeline" }, steps.map((step) => h("li", {},
      h("div", {}, h("strong", {}, step.what), h("span", { class: "muted" }, step.after_s ? `after ${seconds(step.after_s)}` : ""), step.at && h("time", { datetime: step.at }, clock(step.at))),
      h("p", { class: "muted" }, [step.who, step.about].filter(Boolean).join(": "))))),
    event.error && h("p", { class: "error" }, event.error),
  ]);
}

/** Whether a scope's entries say what SQL says; nothing is healed. */
export function compare(kind, id) {
  return opened(`${kind}:${id}, compared with SQL`, () => post("/api/cache/compare", { kind, id }), (found) => [
    h("p", { class: found.differing ? "bad" : "muted" }, found.differing ? `${found.differing === 1 ? "1 entry differs" : `${count(found.differing)} entries differ`} from SQL. Nothing was healed: invalidate the scope to do so.` : "No entry differs from SQL."),
    table("Entries", [
      { label: "View", kind: "main", cell: (entry) => [entry.view, entry.params && h("code", { class: "params" }, entry.params)] },
      { label: "Result", cell: (entry) => state({ matches: "valid", differs: "dead" }[entry.match] ?? "deferred", entry.match) },
      { label: "Where", kind: "wide", cell: (entry) => [entry.differs.join(", ") || NONE, entry.suspects.map((one) => h("p", { class: "muted" }, one))] },
    ], found.entries),
  ]);
}

/** Stale entries that the verifier found and that nobody has acknowledged. */
export function findings(room, context) {
  const body = h("div");
  const whole = card("Found stale by the verifier", body);
  whole.hidden = true;
  room.append(whole);
  const reload = listing(body, () => get("/api/cache/findings", { limit: 20 }), (found) => {
    whole.hidden = !found.open;
    if (!found.open) return empty("Nothing to acknowledge");
    return [
      h("div", { class: "section-head" },
        h("p", { class: "muted" }, `${count(found.findings.length)} of ${count(found.open)}. Each was healed when it was found; a change was not recorded, or its rule is wrong.`),
        context.operator && h("button", { type: "button", data: { key: "acknowledge" }, on: { click: async (event) => {
          await act(event.currentTarget, async () => `${plural((await post("/api/cache/findings/acknowledge", { up_to: found.findings[0].id })).acknowledged, "finding")} acknowledged.`);
          reload();
        } } }, `Acknowledge ${count(found.open)}`)),
      table("Findings", [
        { label: "Entry", kind: "main", cell: (one) => [`${one.view} of ${one.scope}`, one.params && h("code", { class: "params" }, one.params)] },
        { label: "Found", kind: "number", cell: (one) => ago(one.found_at) },
        { label: "Age", kind: "number", cell: (one) => seconds(one.age_s) },
        { label: "Differs in", cell: (one) => one.differs.join(", ") },
        { label: "Written since", kind: "wide", cell: (one) => (one.suspects.length ? one.suspects.map((text) => h("p", { class: "muted" }, text)) : NONE) },
      ], found.findings),
    ];
  });
  reload();
  return reload;
}
