"""Guards of the queue and the worker: coalescing, parking, dead letters, the ledger (rows 10, 26, 30, 40)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import text

import stoker.handlers.run
import stoker.worker.schedule.ledger
from stoker.errors import Defer
from stoker.handlers.context import JobContext
from stoker.handlers.refresh import refresh
from stoker.jobs import Job, Lane, Outcome, Refresh
from stoker.queue.enqueue import ENQUEUE
from stoker.worker.engine import verdict
from stoker.worker.engine.claims import CLAIM, Claim, Ending
from stoker.worker.engine.lane import LaneWorker
from stoker.worker.engine.verdict import ClaimedJob, Verdict
from stoker.worker.schedule.ledger import Ledger, Slot
from tests.races.guards.away import Patch, Removal, both, replaced, script

COALESCE = "if digest ~= '' then waiting, due = waiting_job(queue, digest) end"
AS_AN_ID = """
    local taken = prefix .. ':asked:' .. digest
    if digest ~= '' and not redis.call('SET', taken, id, 'NX', 'PX', life_ms) then
      waiting, due = redis.call('GET', taken), now
    end"""
"""What arq does with an id of its caller's: it is taken while its job or its job's result is kept."""
WITH_ITS_JOB = "if not id or redis.call('EXISTS', 'arq:job:' .. id) == 0 then return nil end"
ALWAYS = "if not id then return nil end if id then return id, 0 end"
OUTLIVING = script(ENQUEUE, WITH_ITS_JOB, ALWAYS)


async def _overtaken_is_done(context: JobContext, job: Refresh) -> Outcome:
    try:
        return await refresh(context, job)
    except Defer:
        return Outcome.ALREADY_BUILDING


def _refreshed_once(patch: Patch) -> None:
    tasks: dict[Any, Any] = stoker.handlers.run.HANDLERS
    patch.setitem(tasks, Refresh, _overtaken_is_done)


def _unknown_destroyed(patch: Patch) -> None:
    """What arq does with a job whose function it does not know."""
    read = verdict.read

    def destroying(lane: Lane, claim: Claim, job_types: Mapping[str, type[Job]]) -> ClaimedJob | Verdict:
        found = read(lane, claim, job_types)
        if isinstance(found, ClaimedJob) or found.outcome != "parked":
            return found
        return replace(found, finish=replace(found.finish, ending=Ending.REMOVE))

    patch.setattr(verdict, "read", destroying)


async def _out_of_redis_first(self: LaneWorker, found: Verdict) -> None:
    await self.parts.finisher.finish(found.finish)
    if found.letter is not None:
        await self._burials.bury(found.letter)


def _done_when_claimed(patch: Patch) -> None:
    claim = Ledger.claim

    async def claimed(
        self: Ledger, wanted: Sequence[Slot], lease: timedelta, *, begin_older: bool = False
    ) -> set[Slot]:
        ours = await claim(self, wanted, lease, begin_older=begin_older)
        await self.done(dict.fromkeys(ours))
        return ours

    patch.setattr(Ledger, "claim", claimed)


def _claimed_for_ever(patch: Patch) -> None:
    guard = "state IN ('claimed', 'failed')"
    source = stoker.worker.schedule.ledger.CLAIM.text
    assert guard in source, f"claim_slots.sql has changed: no {guard!r}"
    patch.setattr(stoker.worker.schedule.ledger, "CLAIM", text(source.replace(guard, "state IN ('failed')")))


GUARDS: Mapping[str, Removal] = {
    "no ids that are taken": script(ENQUEUE, COALESCE, AS_AN_ID),
    "flags cleared when their jobs begin": both(
        OUTLIVING, script(CLAIM, "redis.call('DEL', prefix .. ':waiting:' .. digest)", "")
    ),
    "flags counting only while their jobs are queued": OUTLIVING,
    "one build of an entry at a time": script(
        CLAIM, "if alone == '1' and taken_by_another(digest) then", "if false then"
    ),
    "overtaken refreshes deferred": _refreshed_once,
    "unknown job_types parked": _unknown_destroyed,
    "jobs about unknown views parked": replaced(verdict, "_is_for_another_release", lambda *_: False),
    "letters before the end in Redis": replaced(LaneWorker, "_carry_out", _out_of_redis_first),
    "slots claimed, then done": _done_when_claimed,
    "slots of the dead taken over": _claimed_for_ever,
}
