// Is the cache right, is it warm, is the worker keeping up.

import { post, put } from "./api.js";
import { fill, h, icon, say } from "./dom.js";
import { NONE, bytes, count, percent, plural, rate, seconds } from "./format.js";
import { history } from "./history.js";
import { act, ask, causes, confirm, empty, loading, table, unknown, whenChanged } from "./parts.js";

const SIGNS = { well: "ok", untried: "wait", watch: "warn", wrong: "bad" };
const PLACES = { users: "#/overview", right: "#/cache", warm: "#/cache", worker: "#/jobs", servers: "#/overview" };

export function overview(main, context) {
  const room = h("div", {}, loading());
  fill(main, h("h1", { class: "visually-hidden" }, "Overview"), room);
  let parts = null;

  function update(picture) {
    if (!parts) {
      parts = build(context);
      fill(room, parts.nodes);
    }
    parts.update(picture);
  }

  return { update, close: () => parts?.close() };
}

function build(context) {
  const verdict = h("section", { class: "verdict", "aria-label": "Summary" });
  const servers = h("section", { class: "servers", "aria-label": "Servers" });
  const right = answer("Is the cache right?");
  const warm = answer("Is it warm?");
  const worker = answer("Is the worker keeping up?");
  const lanes = h("section", { "aria-label": "Lanes" });
  const views = h("section", { "aria-label": "Views" });
  const past = history();

  function update(picture) {
    drawVerdict(verdict, picture);
    whenChanged(servers, serverRows(picture), () => serverStrip(picture));
    drawRight(right, picture);
    drawWarm(warm, picture);
    drawWorker(worker, picture);
    whenChanged(lanes, [picture.lanes, picture.missing.lanes], () => laneTable(picture, context));
    whenChanged(views, [picture.views, picture.answered, picture.missing.views], () => viewTable(picture));
  }

  return {
    nodes: [verdict, servers, h("div", { class: "answers" }, right.node, warm.node, worker.node), past.node, lanes, views],
    update,
    close: past.close,
  };
}

function drawVerdict(node, picture) {
  whenChanged(node, [picture.verdict, picture.says, picture.concerns], () => {
    node.className = `verdict ${picture.verdict}`;
    return [
      icon(SIGNS[picture.verdict]),
      h("div", {},
        h("p", { class: "verdict-says" }, picture.concerns.length ? h("a", { href: place(picture.concerns[0]) }, picture.says) : picture.says),
        picture.concerns.length > 1 && h("ul", {}, picture.concerns.slice(1).map((concern) =>
          h("li", { class: concern.verdict }, h("a", { href: place(concern) }, concern.says))))),
    ];
  });
}

function place(concern) {
  return concern.says.includes("dead letter") ? "#/dead" : PLACES[concern.about] ?? "#/overview";
}

const SERVERS = { database: "Postgres", queue: "Queue Redis", cache: "Cache Redis", node: "Node of the cache" };
const STATES = { ok: "ok", slow: "warn", down: "bad" };

function serverRows({ health, memory }) {
  return Object.entries(health.servers).flatMap(([name, server]) => [
    [name, server.address, server.state, latency(server), server.error, memoryOf(memory[name])],
    ...server.nodes.map((node) => ["node", node.address, node.state, latency(node), node.error, plural(node.slots, "slot")]),
  ]);
}

function memoryOf(memory) {
  if (!memory) return null;
  const used = rounded(memory.used_bytes);
  const room = memory.limit_bytes === null ? `${used} used, no limit` : `${used} of ${bytes(memory.limit_bytes)} used`;
  const evicted = memory.evicts && `${memory.evicted_per_s === null ? NONE : rate(memory.evicted_per_s)} evicted/s`;
  return [room, memory.policy, evicted].filter(Boolean).join(", ");
}

/** Bytes to two digits: what each command adds must not make the line flicker. */
function rounded(value) {
  return bytes(Number(value.toPrecision(2)));
}

/** To two digits: a probe of every second must not make the line flicker. */
function latency({ state, ms }) {
  return state !== "down" && ms !== null ? seconds(Number(ms.toPrecision(1)) / 1000) : NONE;
}

function serverStrip(picture) {
  return h("ul", {}, serverRows(picture).map(([name, address, state, ms, error, memory]) =>
    h("li", { class: state },
      h("span", { class: `state ${STATES[state]}` }, state === "down" ? "no answer" : state),
      h("strong", {}, SERVERS[name] ?? name),
      h("code", {}, address),
      h("span", { class: state === "down" ? "error" : "muted" }, state === "down" ? error : `${ms} to answer`),
      memory && h("span", { class: "muted" }, memory))));
}

function answer(question) {
  const value = h("p", { class: "figure" }, NONE);
  const unit = h("span", { class: "unit" });
  const body = h("div", { class: "answer-body" });
  const node = h("section", { class: "card answer" }, h("h2", {}, question), h("div", { class: "figure-line" }, value, unit), body);
  return { node, value, unit, body };
}

function rows(part, found) {
  const names = found.map(([name]) => name).join();
  if (part.names !== names) {
    part.names = names;
    part.cells = found.map(() => h("dd"));
    fill(part.body, h("dl", { class: "rows" }, found.map(([name], at) => h("div", {}, h("dt", {}, name), part.cells[at]))), part.extra);
  }
  found.forEach(([, value, tone], at) => {
    say(part.cells[at], value);
    part.cells[at].className = tone ?? "";
  });
}

function drawRight(part, picture) {
  const { changes, verified } = picture;
  say(part.value, changes ? count(changes.unsettled) : NONE);
  say(part.unit, changes ? `${changes.unsettled === 1 ? "change" : "changes"} not applied` : unknown(picture, "changes"));
  rows(part, [
    ["Oldest of them", changes?.unsettled ? seconds(changes.oldest_age_s) : NONE, changes?.oldest_age_s > 5 && "bad"],
    ["Applied in the last minute", count(changes?.applied_last_minute)],
    ["Compared with SQL", !verified ? NONE : verified.checked ? plural(verified.checked, "entry", "entries") : "not yet"],
    ["Found right", verified?.checked ? percent(verified.share) : NONE, verified?.stale ? "bad" : verified?.checked ? "good" : ""],
  ]);
}

function drawWarm(part, picture) {
  const { hit_rate: hitRate, views } = picture;
  const all = Object.values(views ?? {});
  const sum = (what) => (views ? all.reduce((total, view) => total + view[what], 0) : null);
  const missed = {};
  for (const view of all) for (const [cause, n] of Object.entries(view.misses)) missed[cause] = (missed[cause] ?? 0) + n;
  say(part.value, percent(hitRate));
  say(part.unit, !views ? unknown(picture, "views") : sum("reads") ? "of reads were hits, last hour" : "nothing was read in the last hour");
  part.extra ??= h("div");
  const now = Object.values(picture.answered ?? {}).filter((view) => view.reads);
  const failed = now.reduce((total, view) => total + view.errors, 0);
  rows(part, [
    ["p99 of the slowest view, 5 min", now.length ? seconds(Math.max(...now.map((view) => view.p99_s))) : NONE, now.some((view) => view.p99_s > view.slow_from_s) && "bad"],
    ["Failed reads, 5 min", now.length ? count(failed) : NONE, failed > 0 && "bad"],
    ["Reads", count(sum("reads"))], ["Built from SQL", count(sum("loads"))], ["Served stale", count(sum("stale"))]]);
  whenChanged(part.extra, [sum("reads") > 0, missed], () => views && sum("reads") > 0 && [h("h3", {}, "Why reads missed"), causes(missed)]);
}

function drawWorker(part, picture) {
  const { lanes, workers, requests, missing } = picture;
  const all = Object.values(lanes ?? {});
  const rated = lanes && !missing.rates;
  const each = (what) => (rated ? all.reduce((total, lane) => total + lane[what], 0) : null);
  const waits = all.map((lane) => lane.wait_p99_s).filter((wait) => wait !== null);
  const oldest = Math.max(0, ...all.map((lane) => lane.oldest_ready_age_s));
  const silent = (workers ?? []).filter((one) => one.gone).length;
  const alive = (workers ?? []).length - silent;
  say(part.value, waits.length ? seconds(Math.max(...waits)) : NONE);
  say(part.unit, !lanes ? unknown(picture, "lanes") : rated ? "p99 wait, last 5 minutes" : unknown(picture, "rates"));
  rows(part, [
    ["Workers", workers ? [alive ? `${count(alive)} reporting` : "none reporting", silent && `${count(silent)} silent`].filter(Boolean).join(", ") : NONE, workers && (!alive || silent) && "bad"],
    ["Oldest ready job", lanes ? (oldest ? seconds(oldest) : "none") : NONE, oldest > 30 && "bad"],
    ["Requested, not in the queue", count(requests?.count), requests?.oldest_age_s > 5 && "bad"],
    ["Jobs a minute", rate(each("done_per_minute"))],
    ["Failed a minute", rate(each("failed_per_minute")), each("failed_per_minute") > 0 && "bad"],
  ]);
}

function laneTable(picture, context) {
  const { lanes } = picture;
  if (!lanes) return empty("Lanes cannot be shown", `${unknown(picture, "lanes")}.`);
  const found = Object.entries(lanes).map(([name, lane]) => ({ name, ...lane }));
  const columns = [
    { label: "Lane", kind: "main", cell: (lane) => [h("strong", {}, lane.name), lane.paused && h("span", { class: "state warn" }, "paused")] },
    { label: "Ready", kind: "number", cell: (lane) => count(lane.ready) },
    { label: "Deferred", kind: "number", cell: (lane) => count(lane.deferred) },
    { label: "Running", kind: "number", cell: (lane) => count(lane.running) },
    { label: "Dead", kind: "number", cell: (lane) => (lane.dead ? h("a", { class: "bad", href: "#/dead" }, count(lane.dead)) : count(lane.dead)) },
    { label: "Slots", kind: "number", cell: (lane) => (lane.slots === null ? h("span", { class: "muted", title: "The number in each worker's settings" }, "settings") : count(lane.slots)) },
    { label: "Oldest ready", kind: "number", cell: (lane) => (lane.oldest_ready_age_s ? seconds(lane.oldest_ready_age_s) : NONE) },
    { label: "A minute", kind: "number", cell: (lane) => rate(lane.done_per_minute) },
    { label: "Wait p50", kind: "number", cell: (lane) => seconds(lane.wait_p50_s) },
    { label: "Wait p99", kind: "number", cell: (lane) => seconds(lane.wait_p99_s) },
  ];
  if (context.operator) columns.push({ label: "Action", kind: "actions", cell: (lane) => h("span", { class: "actions" }, slotsButton(lane), pauseButton(lane)) });
  return table("Lanes", columns, found);
}

function pauseButton(lane) {
  const verb = lane.paused ? "Resume" : "Pause";
  return h("button", {
    type: "button", class: "small", data: { key: `pause-${lane.name}` }, "aria-label": `${verb} lane ${lane.name}`,
    on: { click: async (event) => {
      const button = event.currentTarget;
      const text = "Workers start none of its jobs until it is resumed; running jobs go on. Recorded changes are still applied.";
      if (!lane.paused && !(await confirm({ title: `Pause lane ${lane.name}?`, text, action: "Pause it" }))) return;
      await act(button, async () => {
        await post(`/api/jobs/lanes/${lane.name}/${verb.toLowerCase()}`);
        return `Lane ${lane.name} is ${lane.paused ? "running again" : "paused"}.`;
      });
    } },
  }, verb);
}

function slotsButton(lane) {
  return h("button", {
    type: "button", class: "small", data: { key: `slots-${lane.name}` }, "aria-label": `Set the slots of lane ${lane.name}`,
    on: { click: async (event) => {
      const button = event.currentTarget;
      const control = h("input", { type: "number", min: 1, max: 1000, step: 1, value: lane.slots ?? "", placeholder: "from the settings" });
      const given = await ask({
        title: `Slots of lane ${lane.name}`, label: "Jobs at once", control, action: "Set",
        text: "How many of its jobs run at once in each worker, within two seconds. Empty: the number in each worker's settings.",
      });
      if (given === null) return;
      await act(button, async () => {
        await put(`/api/jobs/lanes/${lane.name}/slots`, { slots: given === "" ? null : Number(given) });
        return given === "" ? `Lane ${lane.name}: slots of each worker's settings.` : `Lane ${lane.name}: ${plural(Number(given), "slot")} in each worker.`;
      });
    } },
  }, "Slots");
}

function viewTable(picture) {
  const { views } = picture;
  if (!views) return empty("Views cannot be shown", `${unknown(picture, "views")}.`);
  const found = Object.entries(views).map(([name, view]) => ({ name, ...view, now: picture.answered?.[name] ?? {} }));
  return table("Views: last hour, and what readers got in the last 5 minutes", [
    { label: "View", kind: "main", cell: (view) => h("strong", {}, view.name) },
    { label: "Reads", kind: "number", cell: (view) => count(view.reads) },
    { label: "Hits", kind: "number", cell: (view) => percent(view.hit_rate) },
    { label: "Build", kind: "number", cell: (view) => (view.build_ms === null ? NONE : seconds(view.build_ms / 1000)) },
    { label: "p50", kind: "number", cell: ({ now }) => seconds(now.p50_s) },
    { label: "p99", kind: "number", cell: ({ now }) => h("span", { class: now.p99_s > now.slow_from_s && "bad", title: `The limit is ${seconds(now.slow_from_s)}` }, seconds(now.p99_s)) },
    { label: "Failed", kind: "number", cell: ({ now }) => h("span", { class: now.errors > 0 && "bad" }, now.reads ? count(now.errors) : NONE) },
    { label: "Stale", kind: "number", cell: ({ now }) => h("span", { class: now.stale > 0 && "bad" }, now.reads ? count(now.stale) : NONE) },
    { label: "Why reads missed", kind: "wide", cell: (view) => (view.reads ? causes(view.misses) : NONE) },
  ], found);
}
