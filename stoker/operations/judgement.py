"""The verdict on the overview's figures: what needs attention, and a summary in one sentence.

It calls the cache right only after entries were compared with SQL, and warm only after it was read.
"""

from __future__ import annotations

from collections.abc import Iterator

from stoker.operations.health import ServerState, name_of
from stoker.operations.picture import Concern, Overview, Verdict

SLOW_CHANGE_S, LOST_CHANGE_S = 5, 30
"""Age of the oldest unapplied event, in seconds: above the first a warning, above the second an error."""
SLOW_REQUEST_S = 5
"""Age of the oldest undelivered request of `enqueue_in`, in seconds, above which it is a warning."""
LONG_WAIT_S = {"changes": 5, "refresh": 30, "warm": 600}
"""Age of a lane's oldest ready job, in seconds, above which it is a warning."""
COLD, COLD_READS = 0.5, 200
"""Hit rate of the last hour below which a view counts as cold, if it was read so often."""
KEEPS_UP = "the worker keeps up."
SAYS = {
    Verdict.WATCH: "The cache works, but something needs attention.",
    Verdict.WRONG: "Something is wrong.",
}


def judged(shown: Overview) -> Overview:
    """The picture with its verdict, its summary and the list of concerns."""
    concerns = sorted(_concerns(shown), key=lambda concern: concern.verdict is not Verdict.WRONG)
    verdict, says = _all_in_all(shown)
    if concerns:
        verdict = concerns[0].verdict
        says = SAYS[verdict]
    return shown.model_copy(update={"concerns": concerns, "verdict": verdict, "says": says})


def _all_in_all(shown: Overview) -> tuple[Verdict, str]:
    compared = bool(shown.verified and shown.verified.checked)
    if compared and shown.hit_rate is not None:
        if shown.hit_rate >= COLD:
            return Verdict.WELL, f"The cache is right and warm, and {KEEPS_UP}"
        return Verdict.WELL, f"The cache is right and still warming up. {KEEPS_UP.capitalize()}"
    if compared:
        read = any(view.reads_ever for view in (shown.views or {}).values())
        nobody = "nothing was read in the last hour" if read else "nothing was read yet"
        return Verdict.UNTRIED, f"The cache is right; {nobody}. {KEEPS_UP.capitalize()}"
    if shown.hit_rate is not None:
        return Verdict.UNTRIED, f"Every change is applied, nothing was compared with SQL yet; {KEEPS_UP}"
    return Verdict.UNTRIED, f"Nothing was read or compared with SQL yet. {KEEPS_UP.capitalize()}"


def _concerns(shown: Overview) -> Iterator[Concern]:
    yield from _about_servers(shown)
    yield from _about_right(shown)
    yield from _about_warm(shown)
    yield from _about_worker(shown)


def _about_servers(shown: Overview) -> Iterator[Concern]:
    servers = shown.health.servers
    for name, server in servers.items():
        where = f"{name_of(name)} ({server.address})" if server.address else name_of(name)
        if not server.ok:
            yield Concern(verdict=Verdict.WRONG, about="servers", says=f"{where} does not answer")
        elif server.state is ServerState.SLOW:
            says = f"{where} is slow: it took {server.ms:,.0f} ms to answer"
            yield Concern(verdict=Verdict.WATCH, about="servers", says=says)
    if all(server.ok for server in servers.values()):
        for says in dict.fromkeys(shown.missing.values()):
            yield Concern(verdict=Verdict.WATCH, about="servers", says=says)


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
    for name, view in (shown.views or {}).items():
        if view.hit_rate is not None and view.hit_rate < COLD and view.reads >= COLD_READS:
            says = f"{name} is cold: {view.hit_rate:.0%} of {view.reads:,} reads in the last hour were hits"
            yield Concern(verdict=Verdict.WATCH, about="warm", says=says)


def _about_worker(shown: Overview) -> Iterator[Concern]:
    if shown.workers is not None and all(worker.gone for worker in shown.workers):
        yield Concern(
            verdict=Verdict.WRONG, about="worker", says="no worker reports: start one, or read its log"
        )
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
            says = f"lane {name} is behind: its oldest job waits for {_duration(lane.oldest_ready_age_s)}"
            yield Concern(verdict=Verdict.WATCH, about="worker", says=says)
        if lane.dead:
            yield Concern(
                verdict=Verdict.WATCH, about="worker", says=f"{_count(lane.dead, 'dead letter')} in {name}"
            )
        if lane.parked:
            says = f"{_count(lane.parked, 'job')} in {name} of a kind that no worker knows"
            yield Concern(verdict=Verdict.WATCH, about="worker", says=says)


def _is_left_alone(lane: str, shown: Overview) -> bool:
    # Without any worker, that is what is said.
    alive = [worker for worker in shown.workers or () if not worker.gone]
    return bool(alive and shown.served) and lane not in (shown.served or ())


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
