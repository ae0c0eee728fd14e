"""The verdict on the overview's figures: what needs attention, and the worst of it as the headline.

What readers get counts more than what may explain it. It calls the cache right only after entries were
compared with SQL. Limits may be set for single views ([watch]), and nothing old counts for ever.
"""

from __future__ import annotations

from collections.abc import Iterator

from stoker.operations.health import ServerState, name_of
from stoker.operations.picture import Answered, Concern, Overview, Verdict

SLOW_CHANGE_S, LOST_CHANGE_S = 5, 30
"""Age of the oldest unapplied event, in seconds: above the first a warning, above the second an error."""
SLOW_REQUEST_S = 5
"""Age of the oldest undelivered request of `enqueue_in`, in seconds, above which it is a warning."""
LONG_WAIT_S = {"changes": 5, "refresh": 30, "warm": 600}
"""Age of a lane's oldest ready job, in seconds, above which it is a warning."""
COLD_READS = 200
"""Reads of a view in an hour from which its hit rate is judged, where a limit is set for it."""
MANY = 0.01
"""Share of a view's reads above which failed or outdated answers are more than single ones."""
EVICTED = 0.05
"""Share of all reads that may miss an entry because it was evicted."""
MOST = 0.5
"""Share of a view's reads past the cache above which the cache does not do its work."""
SINCE = "in the last 5 minutes"
KEEPS_UP = "the worker keeps up."
WITHOUT = {
    "database": "writes fail, and so do reads that the cache cannot answer",
    "queue": "jobs wait, and changes are applied all the same",
    "cache": "reads go to SQL, and changes wait to be applied",
}
"""What the rest does without a server."""


def judged(shown: Overview) -> Overview:
    """The picture with its verdict, the worst fact as its summary, and the list of concerns."""
    concerns = sorted(_concerns(shown), key=_wrong_first)
    verdict, says = _all_in_all(shown)
    if concerns:
        verdict = concerns[0].verdict
        says = f"{concerns[0].says[0].upper()}{concerns[0].says[1:]}"
    return shown.model_copy(update={"concerns": concerns, "verdict": verdict, "says": says})


def _wrong_first(concern: Concern) -> bool:
    return concern.verdict is not Verdict.WRONG


def _all_in_all(shown: Overview) -> tuple[Verdict, str]:
    compared = bool(shown.verified and shown.verified.checked)
    if compared and shown.hit_rate is not None:
        return Verdict.WELL, f"The cache is right, {share(shown.hit_rate)} of reads are hits, and {KEEPS_UP}"
    if compared:
        read = any(view.reads_ever for view in (shown.views or {}).values())
        nobody = "nothing was read in the last hour" if read else "nothing was read yet"
        return Verdict.UNTRIED, f"The cache is right; {nobody}. {KEEPS_UP.capitalize()}"
    if shown.hit_rate is not None:
        return Verdict.UNTRIED, f"Every change is applied, nothing was compared with SQL yet; {KEEPS_UP}"
    return Verdict.UNTRIED, f"Nothing was read or compared with SQL yet. {KEEPS_UP.capitalize()}"


def _concerns(shown: Overview) -> Iterator[Concern]:
    """What users get comes first, then what may explain it."""
    views = shown.answered or {}
    yield from (concern for name, view in views.items() for concern in _about_users(name, view))
    yield from _about_servers(shown)
    yield from _about_nodes(shown)
    yield from _about_right(shown)
    yield from _about_worker(shown)
    yield from _about_warm(shown)


def _about_users(name: str, view: Answered) -> Iterator[Concern]:
    def concern(says: str, *, wrong: bool = False) -> Concern:
        return Concern(verdict=Verdict.WRONG if wrong else Verdict.WATCH, about="users", says=says)

    many = view.reads * MANY
    if view.errors:
        yield concern(f"{_of(view.errors, view.reads)} of {name} failed {SINCE}", wrong=view.errors > many)
    elif view.load_errors and not view.stale:
        yield concern(f"{_count(view.load_errors, 'build')} of {name} failed {SINCE}; no read did")
    if view.stale:
        says = f"{_of(view.stale, view.reads)} of {name} got an outdated value {SINCE}: its loader fails"
        yield concern(says, wrong=view.stale > many)
    if view.bypass > many:
        says = f"{_of(view.bypass, view.reads)} of {name} went to SQL past the cache {SINCE}"
        yield concern(says, wrong=view.bypass > view.reads * MOST)
    if view.p99_s is not None and view.p99_s > view.slow_from_s:
        limit = f"the limit is {view.slow_from_s:g} s"
        yield concern(f"reads of {name} are slow: p99 {view.p99_s:.2g} s {SINCE}, {limit}")


def _about_servers(shown: Overview) -> Iterator[Concern]:
    servers = shown.health.servers
    for name, server in servers.items():
        where = f"{name_of(name)} ({server.address})" if server.address else name_of(name)
        if not server.ok:
            yield Concern(
                verdict=Verdict.WRONG, about="servers", says=f"{where} {server.says}; {_without(name)}"
            )
        elif server.state is ServerState.SLOW:
            says = f"{where} is slow: it took {server.ms:,.0f} ms to answer"
            yield Concern(verdict=Verdict.WATCH, about="servers", says=says)
    for name, memory in shown.memory.items():
        if memory.full and not memory.evicts:
            kept = "nothing new is stored" if name == "cache" else "it takes no new jobs"
            says = f"{name_of(name)} has used all of its memory and evicts nothing: {kept}"
            yield Concern(verdict=Verdict.WRONG, about="servers", says=says)
        elif name == "queue" and memory.evicted:
            says = f"{name_of(name)} has evicted {_count(memory.evicted, 'key')}: jobs are lost"
            yield Concern(verdict=Verdict.WRONG, about="servers", says=says)
    if all(server.ok for server in servers.values()):
        for says in dict.fromkeys(shown.missing.values()):
            yield Concern(verdict=Verdict.WATCH, about="servers", says=says)


def _without(server: str) -> str:
    return f"without it, {WITHOUT[server]}"


def _about_nodes(shown: Overview) -> Iterator[Concern]:
    """Nodes of a cluster. The others go on."""
    for name, server in shown.health.servers.items():
        for node in server.nodes:
            if node.error is not None:
                says = f"node {node.address} of {name_of(name)} is away: SQL answers what is in its slots"
                yield Concern(verdict=Verdict.WRONG, about="servers", says=says)


def _about_right(shown: Overview) -> Iterator[Concern]:
    changes = shown.changes
    if changes is not None and changes.oldest_age_s > SLOW_CHANGE_S:
        verdict = Verdict.WRONG if changes.oldest_age_s > LOST_CHANGE_S else Verdict.WATCH
        oldest = _duration(changes.oldest_age_s)
        says = f"{_count(changes.unsettled, 'change')} not applied, the oldest for {oldest}"
        yield Concern(verdict=verdict, about="right", says=says)
    if changes is not None and changes.failing:
        says = f"{_count(changes.failing, 'change')} failed and will be tried again"
        yield Concern(verdict=Verdict.WRONG, about="right", says=says)
    if shown.findings:
        entries = _count(shown.findings, "entry", "entries")
        says = f"{entries} found stale when compared with SQL, not acknowledged yet"
        yield Concern(verdict=Verdict.WRONG, about="right", says=says)


def _about_warm(shown: Overview) -> Iterator[Concern]:
    views = (shown.views or {}).values()
    evicted, reads = sum(view.misses.get("evicted", 0) for view in views), sum(view.reads for view in views)
    if evicted > reads * EVICTED:
        says = f"{_of(evicted, reads)} in the last hour missed an entry that was evicted: memory is too small"
        yield Concern(verdict=Verdict.WATCH, about="warm", says=says)
    for name, view in (shown.views or {}).items():
        limit, rate = view.cold_below, view.hit_rate
        if limit is not None and rate is not None and rate < limit and view.reads >= COLD_READS:
            hits = f"{share(rate)} of {view.reads:,} reads in the last hour were hits"
            says = f"{name} is cold: {hits}, the limit is {share(limit)}"
            yield Concern(verdict=Verdict.WATCH, about="warm", says=says)


def _about_worker(shown: Overview) -> Iterator[Concern]:
    if shown.workers is not None and all(worker.gone for worker in shown.workers):
        yield Concern(
            verdict=Verdict.WRONG, about="worker", says="no worker reports: start one, or read its log"
        )
    if shown.dead_lately:
        says = f"{_count(shown.dead_lately, 'dead letter')} of the last 24 hours"
        yield Concern(verdict=Verdict.WATCH, about="worker", says=says)
    requests = shown.requests
    if requests is not None and requests.oldest_age_s > SLOW_REQUEST_S:
        oldest = _duration(requests.oldest_age_s)
        says = f"{_count(requests.count, 'requested job')} not in the queue yet, the oldest for {oldest}"
        yield Concern(verdict=Verdict.WATCH, about="worker", says=says)
    for name, lane in (shown.lanes or {}).items():
        if lane.paused:
            yield Concern(verdict=Verdict.WATCH, about="worker", says=f"lane {name} is paused")
        elif lane.ready and _is_left_alone(name, shown):
            waits = _count(lane.ready, "job waits", "jobs wait")
            says = f"no worker runs lane {name}: {waits}; see stoker run --lanes"
            yield Concern(verdict=Verdict.WRONG, about="worker", says=says)
        elif lane.oldest_ready_age_s > LONG_WAIT_S.get(name, SLOW_CHANGE_S):
            says = (
                f"lane {name} is behind: its oldest job has waited for {_duration(lane.oldest_ready_age_s)}"
            )
            yield Concern(verdict=Verdict.WATCH, about="worker", says=says)
        if lane.parked:
            says = f"{_count(lane.parked, 'job')} in {name} of a kind that no worker knows"
            yield Concern(verdict=Verdict.WATCH, about="worker", says=says)


def _is_left_alone(lane: str, shown: Overview) -> bool:
    # Without any worker, that is what is said.
    alive = [worker for worker in shown.workers or () if not worker.gone]
    return bool(alive and shown.served) and lane not in (shown.served or ())


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _of(part: int, reads: int) -> str:
    """`15 % of 1,200 reads`; of all of them at most: the counters of one read may be sampled apart."""
    reads = max(part, reads)
    return f"{share(part / reads)} of {_count(reads, 'read')}"


def share(part: float) -> str:
    """A share in per cent, rounded neither down to nothing nor up to all."""
    if 0 < part < 0.001:  # noqa: PLR2004 - the least that one digit shows
        return "under 0.1 %"
    if 0.999 < part < 1:  # noqa: PLR2004 - the most
        return "over 99.9 %"
    return f"{part:.1%}".replace(".0%", "%").replace("%", " %")


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
