// The cache: one scope's entries and stamps, actions on them, and the hottest and slowest entries.

import { get, post } from "./api.js";
import { fill, h } from "./dom.js";
import { NONE, ago, bytes, clock, count, rate, seconds } from "./format.js";
import { compare, explain, findings, follow } from "./why.js";
import { act, card, confirm, empty, facts, failed, field, listing, select, state, table } from "./parts.js";
import { warming } from "./warming.js";

export function cache(main, context, filters) {
  const lookup = h("div");
  const found = h("div");
  const standing = h("div", { class: "standing" });
  const stale = h("div");
  const predicted = h("div");
  fill(main, h("h1", {}, "Cache"), lookup, found, stale, predicted, standing);
  const update = warming(predicted);
  let reload = () => {};

  async function begin() {
    try {
      const domain = await get("/api/cache/domain");
      fill(lookup, form(domain, context, filters));
      const kind = filters.kind ?? Object.keys(domain.kinds)[0];
      if (filters.id) {
        const changes = scopeEvents(kind, filters.id);
        const reloadHeld = listing(found, () => get("/api/cache/scope", { kind, id: filters.id, events: false }), (scope) => drawScope(scope, kind, filters.id, changes, context, () => reload()));
        reload = () => {
          reloadHeld();
          changes.reload();
        };
        reload();
      }
    } catch (error) {
      fill(lookup, failed(error, begin));
    }
  }

  begin();
  const lists = outstanding(standing, context);
  const reloadFindings = findings(stale, context);
  return { update, changed: (last) => `${last.applied} ${last.jobs}`, reload: () => { reload(); lists(); reloadFindings(); }, everyMs: 3000 };
}

function form(domain, context, filters) {
  const kinds = Object.keys(domain.kinds).map((kind) => [kind, kind]);
  const node = h("form", { class: "filters", role: "search", "aria-label": "Scope", on: { submit: (event) => {
    event.preventDefault();
    const given = new FormData(node);
    context.go("cache", { kind: given.get("kind"), id: given.get("id").trim() });
  } } },
    field("Kind", select("kind", kinds, filters.kind ?? kinds[0]?.[0], () => {})),
    field("Id", h("input", { name: "id", value: filters.id ?? "", required: true, maxlength: 64, placeholder: "42", autocomplete: "off", spellcheck: "false", data: { search: "1" } })),
    h("button", { type: "submit", class: "primary" }, "Look up"),
    context.operator && domain.can_warm_active && h("button", { type: "button", class: "far", on: { click: async (event) => {
      await act(event.currentTarget, async () => {
        await post("/api/cache/warm", { target: "active" });
        return "Warming active users.";
      });
    } } }, "Warm active users"));
  return node;
}

/** What Postgres knows of a scope. It is asked for apart, because what the cache holds must not wait for it. */
function scopeEvents(kind, id) {
  const last = h("span", {}, NONE);
  const list = h("div");
  const reload = listing(list, () => get("/api/cache/scope/events", { kind, id }), ({ events }) => {
    fill(last, events.length ? `${ago(events[0].applied_at ?? events[0].recorded_at)} by ${events[0].by}` : "not lately");
    return events.length ? h("ol", { class: "timeline" }, events.map(drawEvent)) : h("p", { class: "muted" }, "None among the latest events.");
  });
  return { last, list, reload };
}

function drawScope(scope, kind, id, changes, context, reload) {
  const missing = scope.stamps.filter((stamp) => !stamp.present).length;
  return h("section", { class: "card scope", "aria-label": `Scope ${scope.scope}` },
    h("div", { class: "section-head" },
      h("h2", {}, h("code", {}, scope.scope)),
      context.operator && h("div", { class: "actions" }, scopeButtons(scope, kind, id, reload))),
    facts([
      ["Last invalidated", changes.last],
      ["Stamps", missing ? `${count(scope.stamps.length - missing)} of ${count(scope.stamps.length)} present` : "all present"],
    ]),
    table("Entries", [
      { label: "View", kind: "main", cell: (entry) => [h("strong", {}, entry.view), entry.params && h("code", { class: "params" }, entry.params)] },
      { label: "State", cell: (entry) => state(entry.state) },
      { label: "Age", kind: "number", cell: (entry) => seconds(entry.age_s) },
      { label: "Expires in", kind: "number", cell: (entry) => (entry.state === "valid" ? seconds(entry.expires_in_s) : NONE) },
      { label: "Stored", kind: "number", cell: (entry) => bytes(entry.stored_bytes) },
      { label: "Body", kind: "number", cell: (entry) => bytes(entry.body_bytes) },
      { label: "Build", kind: "number", cell: (entry) => (entry.build_ms === null ? NONE : seconds(entry.build_ms / 1000)) },
      { label: "Read", kind: "number", cell: (entry) => (entry.read_at ? ago(entry.read_at) : NONE) },
    ], scope.entries, { key: (entry) => `entry-${entry.view}-${entry.params}`, open: (entry) => explain(entry.view, id, entry.params), openLabel: (entry) => `Explain ${entry.view} of ${scope.scope}` }),
    h("div", { class: "halves" },
      h("div", {}, h("h3", {}, "Stamps"), h("ul", { class: "stamps" }, scope.stamps.map((stamp) => h("li", {}, state(stamp.present ? "valid" : "absent", stamp.present ? "present" : "missing"), h("span", {}, stamp.name), h("span", { class: "muted" }, stamp.made_at ? `made ${ago(stamp.made_at)}` : "nothing was built since"))))),
      h("div", {}, h("h3", {}, "Latest changes"), changes.list)));
}

function drawEvent(event) {
  return h("li", {},
    h("div", {}, event.applied_at ? state("done", "applied") : state(event.error ? "dead" : "running", event.error ? "failing" : "waiting"), h("button", { type: "button", class: "link", on: { click: () => follow(event.id) } }, event.by), event.hard && h("span", { class: "state warn" }, "hard"), h("time", { datetime: event.recorded_at }, clock(event.recorded_at))),
    h("p", { class: "muted" }, event.views.join(", ")),
    event.error && h("p", { class: "error" }, event.error));
}

function scopeButtons(scope, kind, id, reload) {
  const body = { kind, id };
  async function ask(button, path, what, said) {
    await act(button, async () => {
      await post(path, what);
      return said;
    });
    reload();
  }
  return [
    h("button", { type: "button", data: { key: "refresh" }, on: { click: (event) => ask(event.currentTarget, "/api/cache/refresh", body, `${scope.scope} is being rebuilt.`) } }, "Refresh"),
    h("button", { type: "button", data: { key: "compare" }, on: { click: () => compare(kind, id) } }, "Compare with SQL"),
    scope.can_warm && h("button", { type: "button", data: { key: "warm" }, on: { click: (event) => ask(event.currentTarget, "/api/cache/warm", { target: kind, id }, `${scope.scope} is being warmed.`) } }, "Warm"),
    h("button", { type: "button", class: "danger", data: { key: "invalidate" }, on: { click: async (event) => {
      const button = event.currentTarget;
      if (await confirm({ title: `Invalidate ${scope.scope}?`, text: `Every view of ${scope.scope} will be built again when it is read next.`, action: "Invalidate", danger: true })) {
        await ask(button, "/api/cache/invalidate", body, `${scope.scope} is invalidated.`);
      }
    } } }, "Invalidate"),
  ];
}

function outstanding(room, context) {
  const open = (entry) => {
    const [kind, id] = cut(entry.scope);
    context.go("cache", { kind, id });
  };
  const label = (entry) => `Look up ${entry.scope}`;
  const parts = [
    ["Hottest", () => get("/api/cache/entries", { by: "read", limit: 10 }), ({ entries }) => entryTable("A read's weight halves every half hour", "Reads", (entry) => rate(entry.reads), entries, open, label)],
    ["Slowest to build", () => get("/api/cache/entries", { by: "slow", limit: 10 }), ({ entries }) => entryTable("Among those read lately", "Build", (entry) => seconds(entry.build_ms / 1000), entries, open, label)],
    ["Most invalidated", () => get("/api/cache/invalidated", { limit: 10 }), ({ scopes }) => (scopes.length ? table("In the latest changes", [
      { label: "Scope", kind: "main mono", cell: (one) => one.scope },
      { label: "Changes", kind: "number", cell: (one) => count(one.events) },
      { label: "Last", kind: "number", cell: (one) => ago(one.last_at) },
    ], scopes, { compact: true, key: (one) => `inv-${one.scope}`, open, opens: (one) => one.scope.includes(":"), openLabel: label }) : empty("No change yet", "Applied changes are counted here."))],
  ];
  const reloads = parts.map(([title, load, draw]) => {
    const body = h("div");
    room.append(card(title, body));
    const reload = listing(body, load, draw);
    reload();
    return reload;
  });
  return () => reloads.forEach((reload) => reload());
}

function entryTable(caption, name, value, entries, open, label) {
  if (!entries.length) return empty("Nothing was read yet", "Entries appear here when the web app reads them.");
  return table(caption, [
    { label: "Entry", kind: "main mono", cell: (entry) => [`${entry.scope} ${entry.view}`, entry.params && h("code", { class: "params" }, entry.params)] },
    { label: "State", cell: (entry) => state(entry.state) },
    { label: name, kind: "number", cell: value },
  ], entries, { compact: true, key: (entry) => `${caption}-${entry.scope}-${entry.view}-${entry.params}`, open, openLabel: label });
}

function cut(scope) {
  const at = scope.indexOf(":");
  return [scope.slice(0, at), scope.slice(at + 1)];
}
