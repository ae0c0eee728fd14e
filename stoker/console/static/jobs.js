// Jobs: what runs, what ended, and one of them in full. Filters live in the address, so a view can be shared.

import { get, post } from "./api.js";
import { fill, h } from "./dom.js";
import { NONE, ago, clock, count, seconds } from "./format.js";
import { act, confirm, empty, errorText, facts, failed, field, listing, loading, panel, select, state, table } from "./parts.js";

const STATES = [["", "Running, ended"], ["ready", "Ready"], ["deferred", "Deferred"], ["running", "Running"], ["parked", "Parked"], ["done", "Done"], ["failed", "Failed, retried"], ["dead", "Dead"]];
const LIVE = new Set(["ready", "deferred", "running", "parked"]);
const LIMIT = 50;
const SAID = { cancelled: "The job is cancelled.", cancelling: "The job is being ended.", runs_elsewhere: "A stock arq worker runs the job. It was asked to abort it.", not_found: "The job had ended by itself." };

export function jobs(main, context, filters) {
  const [queued, ended] = [h("div"), h("div")];
  const [queuePages, endedPages] = [h("div", { class: "pager" }), h("div", { class: "pager" })];
  let before = null;
  let skip = 0;

  function choose(changes) {
    before = null;
    skip = 0;
    context.go("jobs", { ...filters, ...changes });
  }

  const lane = h("span", {}, laneSelect([filters.lane].filter(Boolean)));
  get("/api/jobs/queues").then((found) => fill(lane, laneSelect(Object.keys(found.lanes))), () => {});

  function laneSelect(names) {
    const options = [["", "Every lane"], ...names.map((name) => [name, name])];
    return select("lane", options, filters.lane ?? "", (event) => choose({ lane: event.target.value }));
  }

  const form = h("form", { class: "filters", role: "search", "aria-label": "Jobs", on: { submit: (event) => {
    event.preventDefault();
    const given = new FormData(form);
    choose({ kind: given.get("kind"), scope: given.get("scope"), error: given.get("error") });
  } } },
    field("State", select("state", STATES, filters.state ?? "", (event) => choose({ state: event.target.value }))),
    field("Lane", lane),
    field("Kind", h("input", { name: "kind", value: filters.kind ?? "", placeholder: "refresh.v1", autocomplete: "off", spellcheck: "false" })),
    field("Scope", h("input", { name: "scope", value: filters.scope ?? "", placeholder: "kind:42", autocomplete: "off", spellcheck: "false" })),
    field("Error", h("input", { name: "error", type: "search", value: filters.error ?? "", placeholder: "part of its message", autocomplete: "off", data: { search: "1" } })),
    h("button", { type: "submit" }, "Filter"));

  const button = (key, text, to) => h("button", { type: "button", data: { key }, on: { click: () => turn(to) } }, text);
  const ask = (part) => get("/api/jobs", { ...filters, limit: LIMIT, before, skip, part });

  // Two requests: what the queue says is shown while Postgres is silent, and the other way round.
  const reloadQueue = listing(queued, () => ask("queue"), (found) => {
    fill(queuePages,
      skip > 0 && button("first", "First page", {}),
      found.live_searched < found.live_of && button("on", found.live.length < LIMIT ? "Search on" : "Next in the queue", { skip: found.live_searched }));
    return [reachQueue(found, filters, skip), drawQueue(found, filters, context, reload)];
  });
  const reloadEnded = listing(ended, () => ask("history"), (found) => {
    fill(endedPages,
      before !== null && button("newest", "First page", {}),
      found.ended.length === LIMIT && button("older", "Older", { before: found.ended.at(-1).id }));
    return [reachEnded(found), drawEnded(found, filters, context)];
  });

  function reload() {
    const live = LIVE.has(filters.state);
    queued.hidden = queuePages.hidden = before !== null || Boolean(filters.error && !live) || (Boolean(filters.state) && !live);
    ended.hidden = endedPages.hidden = live;
    if (!queued.hidden) reloadQueue();
    if (!ended.hidden) reloadEnded();
  }

  function turn(to) {
    before = to.before ?? null;
    skip = to.skip ?? 0;
    reload();
  }

  const together = h("div");
  const reloadBatches = listing(together, () => get("/api/jobs/batches", { limit: LIMIT }), (found) => found.batches.length > 0 && batchTable(found.batches));

  fill(main, h("h1", {}, "Jobs"), form, together, queued, queuePages, ended, endedPages);
  reload();
  reloadBatches();
  return { changed: (last) => String(last.jobs), reload: () => { if (before === null && skip === 0) { reload(); reloadBatches(); } }, everyMs: 2000 };
}

/** How many there are of what is shown, and how far a search of the queue has come. */
function reachQueue(found, filters, skip) {
  const searched = filters.kind || filters.scope;
  if (searched && found.live_searched < found.live_of) return reach(`Searched ${count(found.live_searched)} of ${count(found.live_of)} jobs in the queue.`);
  return !searched && found.live_of > found.live.length && reach(`${count(skip + 1)} to ${count(found.live_searched)} of ${count(found.live_of)} in the queue.`);
}

function reachEnded(found) {
  return found.ended_of > found.ended.length && reach(`${count(found.ended.length)} of ${count(found.ended_of)} kept runs.`);
}

function reach(said) {
  return h("p", { class: "muted reach", role: "status" }, said);
}

function drawQueue(found, filters, context, reload) {
  if (found.live.length) return liveTable(found.live, context, reload);
  if (found.live_searched < found.live_of) return empty("None found so far", "The search ended after a bounded time. Search on to see the rest of the queue.");
  return LIVE.has(filters.state) && empty(filters.lane || filters.kind || filters.scope ? "No job matches" : `No job is ${filters.state}`);
}

function drawEnded(found, filters, context) {
  if (found.ended.length) return endedTable(found.ended, context);
  return Object.values(filters).some(Boolean)
    ? empty("No ended job matches", "Finished jobs are kept for a while, failures for thirty days.")
    : empty("No job has ended yet", "Jobs appear here when a worker has run them.");
}

function liveTable(rows, context, reload) {
  const columns = [
    { label: "Kind", kind: "main", cell: (job) => job.kind },
    { label: "State", cell: (job) => state(job.state) },
    { label: "Lane", cell: (job) => job.lane },
    { label: "Scope", kind: "mono", cell: (job) => job.scope ?? NONE },
    { label: "View", cell: (job) => job.view ?? NONE },
    ...(rows.some((job) => job.fair_key) ? [{ label: "Fair key", kind: "mono", cell: (job) => job.fair_key ?? NONE }] : []),
    { label: "Enqueued", kind: "number", cell: (job) => ago(job.enqueued_at) },
    { label: "Due", kind: "number", cell: (job) => (job.state === "running" ? NONE : ago(job.due_at)) },
  ];
  if (context.operator) columns.push({ label: "Action", kind: "actions", cell: (job) => cancelButton(job, reload) });
  return table("In the queue", columns, rows, { key: (job) => `live-${job.job_id}`, open: (job) => show(job.job_id, context, reload), openLabel: (job) => `Open job ${job.kind} ${job.job_id}` });
}

function cancelButton(job, after) {
  return h("button", { type: "button", class: "small danger", data: { key: `cancel-${job.job_id}` }, "aria-label": `Cancel job ${job.kind} ${job.job_id}`, on: { click: async (event) => {
    const button = event.currentTarget;
    const fate = job.state === "running" ? "It is running: its worker ends it within a second, and it will not run again." : "It will not run. Requests that were coalesced with it are cancelled, too.";
    if (!(await confirm({ title: `Cancel ${job.kind}?`, text: `${job.scope ? `About ${job.scope}. ` : ""}${fate}`, action: "Cancel the job", keep: "Keep it", danger: true }))) return;
    await act(button, async () => SAID[(await post(`/api/jobs/${encodeURIComponent(job.job_id)}/cancel`)).answer]);
    after?.();
  } } }, "Cancel");
}

function batchTable(rows) {
  return table("Batches", [
    { label: "Batch", kind: "main", cell: (batch) => h("code", {}, batch.batch_id) },
    { label: "State", cell: (batch) => (batch.ended_at ? "ended" : batch.added < batch.total ? `${batch.added} of ${batch.total} enqueued` : "open") },
    ...["total", "done", "failed", "cancelled", "unknown"].map((name) => ({ label: name[0].toUpperCase() + name.slice(1), kind: "number", cell: (batch) => String(batch[name]) })),
    { label: "Enqueued", kind: "number", cell: (batch) => ago(batch.created_at) },
    { label: "Ended", kind: "number", cell: (batch) => (batch.ended_at ? ago(batch.ended_at) : NONE) },
  ], rows, { key: (batch) => `batch-${batch.batch_id}` });
}

function endedTable(rows, context) {
  return table("Ended", [
    { label: "Kind", kind: "main", cell: (job) => job.kind },
    { label: "State", cell: (job) => [state(job.state, job.state === "done" ? job.outcome : job.state), job.attempt > 1 && h("span", { class: "muted" }, ` run ${job.attempt}`)] },
    { label: "Lane", cell: (job) => job.lane },
    { label: "Scope", kind: "mono", cell: (job) => job.scope ?? NONE },
    { label: "View", cell: (job) => job.view ?? NONE },
    { label: "Error", kind: "wide", cell: (job) => (job.error ? h("div", { class: "error", title: job.error }, job.summary) : h("span", { class: "muted" }, NONE)) },
    { label: "Waited", kind: "number", cell: (job) => seconds(job.waited_s) },
    { label: "Ran", kind: "number", cell: (job) => seconds(job.ran_s) },
    { label: "Ended", kind: "number", cell: (job) => h("time", { datetime: job.ended_at, title: job.ended_at }, clock(job.ended_at)) },
  ], rows, { key: (job) => job.id, open: (job) => job.job_id && show(job.job_id, context), openLabel: (job) => `Open job ${job.kind}, ended ${clock(job.ended_at)}` });
}

/** One job in full. */
export async function show(id, context, after) {
  const opened = panel("Job", loading());
  async function load() {
    try {
      fill(opened.room, drawOne(await get(`/api/jobs/${encodeURIComponent(id)}`), context, () => {
        load();
        after?.();
      }));
    } catch (error) {
      fill(opened.room, failed(error, load));
    }
  }
  await load();
}

function drawOne(job, context, after) {
  const stands = job.live ? state(job.live.state) : job.dead ? state("dead") : job.runs.length ? state(job.runs[0].state, job.runs[0].outcome) : NONE;
  return [
    facts([
      ["State", stands],
      ["Kind", job.kind],
      ["Lane", job.lane],
      ["Scope", h("code", {}, job.scope ?? NONE)],
      job.live?.fair_key && ["Fair key", h("code", {}, job.live.fair_key)],
      ["Id", h("code", {}, job.job_id)],
      job.batch && ["Batch", [h("code", {}, job.batch.batch_id), ` ${job.batch.done + job.batch.failed + job.batch.cancelled + job.batch.unknown} of ${job.batch.total} ended`]],
      job.progress?.total > 0 && ["Progress", `${count(job.progress.done)} of ${count(job.progress.total)}, ${ago(job.progress.updated_at)}`],
      job.live && ["Enqueued", clock(job.live.enqueued_at)],
    ]),
    job.live && context.operator && h("div", { class: "actions" }, cancelButton(job.live, after)),
    h("h3", {}, "Arguments"),
    job.arguments_hidden ? h("p", { class: "muted" }, "Only operators see arguments.") : h("pre", { tabindex: "0" }, JSON.stringify(job.arguments, null, 2) ?? NONE),
    job.result && [
      h("h3", {}, "Result"),
      h("p", { class: "muted" }, `${job.result.says}${job.result.expires_at ? ` It expires at ${clock(job.result.expires_at)}.` : ""}`),
      job.result.text && h("pre", { tabindex: "0", "aria-label": "Result" }, job.result.text),
    ],
    h("h3", {}, "Timeline"),
    job.runs.length ? h("ol", { class: "timeline" }, job.runs.map(drawRun)) : h("p", { class: "muted" }, "It has not run yet, or its runs are no longer kept."),
    job.dead && [
      h("h3", {}, "Dead letter"),
      facts([["Reason", job.dead.reason], ["Died", clock(job.dead.died_at)], ["Tries", job.dead.attempts]]),
      errorText(job.dead),
      job.dead.traceback && h("pre", { tabindex: "0" }, job.dead.traceback),
    ],
  ];
}

function drawRun(run) {
  return h("li", {},
    h("div", {}, state(run.state, run.state === "done" ? run.outcome : run.state), h("span", {}, ` run ${run.attempt}`), h("time", { datetime: run.ended_at }, clock(run.ended_at))),
    h("p", { class: "muted" }, `waited ${seconds(run.waited_s)}, ran ${seconds(run.ran_s)} in worker ${run.worker}`),
    run.error && errorText(run));
}
