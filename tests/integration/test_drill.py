"""The operator's drill: seven kinds of trouble, each solved through the command line in at most six steps.

A step is a command and what an operator must be able to read in its answer. What the worker does meanwhile,
the test does in its place.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from stoker import Stoker
from stoker.handlers.relay import apply_all
from stoker.history.presence import Presence
from stoker.history.roster import Roster
from stoker.jobs import Lane, Refresh
from stoker.operations import lanes
from stoker.operations.audit import Actor
from stoker.worker.engine.meter import Load
from tests.integration.cli import Done, call
from tests.support.notes import NoteChanged, write_notes
from tests.support.place import Place

MOST_STEPS = 6
DOMAIN = {"STOKER__DOMAIN": "tests.support.drill_domain"}
DEAD = (
    "INSERT INTO stoker.dead_jobs"
    " (job_id, lane, kind, payload, reason, error, traceback, fingerprint, attempts)"
    " SELECT :name || n, 'refresh', 'refresh.v1', '{\"view\": \"detail\", \"scope_id\": \"7\"}', 'failed',"
    " :error, :error || ' in line 7', md5(:error), 1 FROM generate_series(1, :number) n"
)


class Operator:
    """Somebody at a terminal, who counts the steps."""

    def __init__(self, place: Place, where: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.environment = {**place.environment(), **DOMAIN}
        self._place, self._where, self._capture = place, where, capture
        self.steps = 0

    def sees(self, command: str, *said: str, code: int = 0) -> str:
        """Run a command; its answer has all of this, and the exit code."""
        self.steps += 1
        assert self.steps <= MOST_STEPS, "an operator would have given up"
        done = self._run(command)
        answer = " ".join((done.stdout + done.stderr).replace("\t", " ").split())
        assert done.returncode == code, answer
        for part in said:
            assert re.search(part, answer), f"{command}: {part!r} is not in: {answer}"
        return answer

    def does_not_see(self, command: str, said: str) -> None:
        """Run a command whose answer has nothing like it."""
        self.steps += 1
        assert self.steps <= MOST_STEPS, "an operator would have given up"
        assert not re.search(said, self._run(command).stdout)

    def meanwhile(self, work: Callable[[Stoker], Awaitable[object]]) -> None:
        """What users and workers do."""

        async def run() -> None:
            async with Stoker.opened(self._place.settings(domain=DOMAIN["STOKER__DOMAIN"])) as stoker:
                await work(stoker)

        asyncio.run(run())

    def _run(self, command: str) -> Done:
        return call(self._where, self.environment, *command.split(), capture=self._capture)


@pytest.fixture
def operator(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Operator:
    found = Operator(place, tmp_path, capsys)
    found.meanwhile(read_notes)
    return found


async def read_notes(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        await write_notes(session, 9)
    await stoker.read("detail", 7, reader=7)


async def reports(stoker: Stoker, worker: str = "web1:10", release: str = "app 1", busy: int = 0) -> None:
    """A worker process reports, so that many of its six slots for refreshes busy."""
    load = {"refresh": Load(slots=6, busy=busy, busy_s=4.7 * busy, slot_s=30.0)}
    await Roster(stoker.engine, worker, release, lambda: load, lambda _: None).report()


def test_a_stale_page(operator: Operator) -> None:
    """Somebody writes SQL by hand, and a page shows what was before."""

    async def behind_the_back(stoker: Stoker) -> None:
        async with stoker.session() as session, session.begin():
            await session.execute(text("UPDATE notes SET body = 'by hand' WHERE id = 7"))

    operator.meanwhile(behind_the_back)
    operator.sees("explain detail 7", "A read is served this entry", "No change of it is among the events")
    operator.sees("cache compare note 7", "detail differs in body", "1 of .* entries differ from SQL", code=1)
    operator.sees("invalidate note 7 --wait 0", "note:7: recorded as")
    operator.meanwhile(apply_all)
    operator.sees("explain detail 7", "A read builds it: the entry that is there was invalidated")


SLOW_FOR = timedelta(minutes=12)
READS = (
    "INSERT INTO stoker.figure_history (span_s, at, series, gauge, value)"
    " SELECT 60, CAST(:since AS timestamptz) + n * interval '1 minute', series, false, value"
    " FROM generate_series(CAST(:begin AS int), CAST(:end AS int)) n,"
    " (VALUES ('view:detail:read:' || :bucket, 50), ('view:detail:miss_invalidated', 50),"
    " ('view:detail:took:' || :bucket, 50 * CAST(:took_s AS float))) AS s (series, value)"
)


def test_pages_are_slow_since_somebody_took_slots_away(operator: Operator) -> None:
    """A lane was given one slot, its jobs pile up, and readers wait for what they would have built."""
    since = datetime.now(UTC).replace(second=0, microsecond=0) - SLOW_FOR

    async def pile_up(stoker: Stoker) -> None:
        await stoker.queue.enqueue_many([Refresh(view="detail", scope_id=str(n)) for n in range(1, 10)])
        await reports(stoker, busy=6)
        await Presence(stoker.engine, "web1:10").seen()
        async with stoker.engine.begin() as connection:
            await connection.execute(text("UPDATE stoker.audit_log SET at = :since"), {"since": since})
            for begin, end, bucket, took_s in ((-9, -1, "0.005", 0.004), (0, 12, "2.5", 1.9)):
                given = {"since": since, "begin": begin, "end": end, "bucket": bucket, "took_s": took_s}
                await connection.execute(text(READS), given)

    operator.meanwhile(lambda stoker: lanes.set_slots(stoker, Actor("cli:bob"), Lane.REFRESH, 1))
    operator.meanwhile(pile_up)
    operator.sees("status", "Reads of detail are slow: p99 1.9 s in the last 5 minutes, the limit is 1 s")
    began = re.escape(f"{since:%Y-%m-%d %H:%M}")
    then = f"{began}:00Z 1.90 1.90 50.00 [^Z]* cli:bob: lane.set refresh"
    operator.sees("history detail", f"Slow since {began}Z: p99 above 1 s", then)
    operator.sees("capacity", r"refresh 6 1 94% \d+ 9 ")
    operator.sees("audit --action lane", r"cli:bob \S+ lane.set {.*\"slots\": 1")
    operator.sees("lanes set refresh 0", "as each worker's settings say")
    operator.sees("lanes list", r"refresh 9 0 0 0 0 \S+ no -")


def test_five_hundred_dead_jobs_after_a_deploy(operator: Operator) -> None:
    """A release had a bug; a dozen letters are of another cause and must stay."""

    async def deploy(stoker: Stoker) -> None:
        async with stoker.engine.begin() as connection:
            for name, error, number in (("old", "KeyError: 'x'", 12), ("new", "TypeError: bug", 500)):
                await connection.execute(text(DEAD), {"name": name, "error": error, "number": number})
        await reports(stoker, release="app 2, with a bug")

    operator.meanwhile(deploy)
    causes = operator.sees("dead list --causes", "500 refresh refresh.v1 failed", "TypeError: bug")
    operator.sees("dead show 512", "TypeError: bug in line 7")
    operator.sees("workers list", "app 2, with a bug")
    fingerprint = re.search(r"([0-9a-f]{32}) 500 ", causes)
    assert fingerprint is not None
    retry = f"dead retry --fingerprint {fingerprint[1]}"
    operator.sees(retry, "retry 500 of 512 dead letters", code=1)
    operator.sees(f"{retry} --yes", "retried 500 of 500; 12 dead letters are left")


def test_a_lost_change(operator: Operator) -> None:
    """A change was committed, and no worker applies it."""

    async def change(stoker: Stoker) -> None:
        async with stoker.session() as session, session.begin():
            stoker.record(session, NoteChanged(note_id=7))
        await reports(stoker)
        async with stoker.engine.begin() as connection:
            await connection.execute(text("UPDATE stoker.workers SET seen_at = now() - interval '5 min'"))

    operator.meanwhile(change)
    why = operator.sees("explain detail 7", r"not applied yet: 1, the oldest \(event \d+\)")
    event = why.partition("(event ")[2].partition(")")[0]
    operator.sees(f"events show {event}", "note.changed waiting", "what happened .* recorded .* not applied")
    operator.sees("workers list", "web1:10 silent")
    operator.meanwhile(apply_all)  # a worker is started
    operator.sees(f"events show {event}", r"note.changed applied", r"applied \S+ \S+ \d+\.\d+ \S+:\d+")


def test_who_paused_a_lane(operator: Operator) -> None:
    operator.sees("lanes pause warm --as ann", "warm is paused")
    operator.sees("status", "lane warm is paused", code=1)
    operator.sees("audit --action lane.pause", r'cli:ann \S+@\S+ lane.pause {"lane": "warm"}')
    operator.sees("lanes resume warm", "warm is resumed")
    operator.does_not_see("status", "lane warm is paused")


def test_too_little_capacity(operator: Operator) -> None:
    async def busy(stoker: Stoker) -> None:
        await reports(stoker, busy=6)
        async with stoker.engine.begin() as connection:
            await connection.execute(
                text(
                    "INSERT INTO stoker.figure_history SELECT 60, date_trunc('minute', now())"
                    " - n * interval '1 minute', series, false, value FROM generate_series(1, 19) n,"
                    " (VALUES ('lane:refresh:busy_s', 338.4), ('lane:refresh:slot_s', 360.0))"
                    " AS s (series, value) ON CONFLICT DO NOTHING"
                )
            )

    operator.meanwhile(busy)
    operator.sees(
        "capacity", "raise refresh to 9, or add a worker: 94% busy for 20 min", "workers: 1, wanted: 2"
    )
    operator.sees("lanes set refresh 9", "refresh: 9 slots in each worker")
    operator.sees("lanes list", r"refresh 0 0 0 0 0 \S+ no 9")


def test_an_upgrade(operator: Operator) -> None:
    """The old worker takes no new jobs while the new one starts; then it is stopped."""

    async def both(stoker: Stoker) -> None:
        await reports(stoker, "old:10", "app 1")
        await reports(stoker, "new:10", "app 2")

    async def stop_old(stoker: Stoker) -> None:
        async with stoker.engine.begin() as connection:
            await connection.execute(
                text("UPDATE stoker.workers SET stopped_at = now() WHERE name = 'old:10'")
            )

    operator.sees("check", "no problem found|warning")
    operator.meanwhile(both)
    operator.sees("workers list", "old:10 running .*app 1", "new:10 running .*app 2")
    operator.sees("workers quiet old:10", "old:10 takes no new jobs")
    operator.sees("workers list", "old:10 quiet 0 6")
    operator.meanwhile(stop_old)
    operator.sees("workers list", "old:10 stopped", "new:10 running")
