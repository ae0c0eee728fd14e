"""Terms: within one nobody is asked, and still nothing is shown from before an applied change (row 47).

Clocks are virtual where time matters: that of the process that applies is fast by a tenth, that of the reader
slow by a tenth, and waiting puts time forward.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

import stoker.cache.term
import stoker.outbox.term
import stoker.revocation
from stoker import Asked, EntryKey, Forbidden, Invalidation, NotFound, Reading, State
from stoker.cache.lookup import Plan
from stoker.cache.near import CREDIT
from stoker.cache.term import SERVED, SURE_S, now_s
from stoker.outbox.rows import backlog
from stoker.outbox.term import CacheTerm, TermRow
from stoker.settings import LONGEST_TERM_MS
from tests.races.guards.terms import WALL
from tests.races.race import race
from tests.races.test_crash import child_of
from tests.races.test_revocation import is_refused, remove
from tests.races.world import Process, World, never, turns
from tests.support.notes import reader

TERM_MS = 1000
FAST, SLOW = 1.1, 0.9


class Time:
    """Time that passes when a test says so, and when somebody waits for a term."""

    def __init__(self) -> None:
        self.real_s = 0.0

    def keep(self, process: Process, rate: float) -> None:
        """Let a process go by this time, at this rate."""
        process.stoker.cache.store.lookup.terms.now_s = lambda: 1e6 + self.real_s * rate
        for loop in process.stoker._parts.loops:
            if loop.get_name() == "term":
                loop.cancel()  # it learns when the test says so

    async def sleep(self, seconds: float) -> None:
        """Whoever waits has a fast clock."""
        await asyncio.sleep(0)
        self.real_s += seconds / FAST


class Terms:
    """A web process, a worker, and their time. The web process has read its entries within the term."""

    def __init__(self, world: World, time: Time, web: Process, worker: Process) -> None:
        self.world, self.time, self.web, self.worker = world, time, web, worker

    async def change(self, body: str = "v2") -> None:
        """Change note 1; returns when it is applied."""
        await self.world.write(body)
        await self.worker.apply()

    async def learn(self) -> None:
        """The web process learns the term; then it reads."""
        await self.web.stoker.cache_term.learn()
        await self.read()

    async def read(self) -> None:
        """Twice: the first may build, the second finds it valid."""
        for _ in range(2):
            for view in ("detail", "mine"):
                await self.web.read(view=view)

    async def shows(self, body: str) -> None:
        """What the web process shows is this."""
        detail, mine = (await self.web.read()).value["body"], (await self.web.read(view="mine")).value
        never(f"{detail} and {mine} were shown", happened=(detail, mine) != (body, [body]))


async def _terms(
    world: World, patch: pytest.MonkeyPatch, *, web_ms: int = TERM_MS, worker_ms: int = TERM_MS
) -> Terms:
    time = Time()
    patch.setattr(
        stoker.outbox.term,
        "asyncio",
        SimpleNamespace(sleep=time.sleep, timeout=asyncio.timeout, Lock=asyncio.Lock),
    )
    web = await world.process(cache={"term_ms": web_ms})
    worker = await world.process(cache={"term_ms": worker_ms})
    time.keep(web, SLOW)
    time.keep(worker, FAST)
    await worker.stoker.cache_term.keep()
    terms = Terms(world, time, web, worker)
    await terms.learn()
    return terms


async def test_within_a_term_nobody_is_asked_not_even_for_rights(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = await _terms(world, monkeypatch)
    asked = terms.web.cache_link.count(b"MGET")
    terms.web.cache_link.freeze()
    for view in ("detail", "mine"):
        assert (await terms.web.read(view=view)).state is State.HIT
    answers = await terms.web.stoker.read_many([Asked("mine", 1), Asked("detail", 1)], reader=1)
    assert [one.state for one in answers if isinstance(one, Reading)] == [State.HIT, State.HIT]
    assert asked.count == 0
    terms.web.cache_link.let_go()


def _term_s(share: float) -> float:
    """Real seconds in which this share of the web process's term passes."""
    return share * SERVED * TERM_MS / 1000 / SLOW


async def test_a_question_renews_another_term_that_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = await _terms(world, monkeypatch)
    await terms.read()
    terms.time.real_s += _term_s(1.01)
    asked = terms.web.cache_link.count(b"MGET")
    await terms.read()
    assert asked.count == 1


async def test_a_question_renews_nothing_whose_body_would_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = await _terms(world, monkeypatch)
    await terms.read()
    terms.time.real_s += _term_s(1.01)
    terms.web.stoker.cache.store.lookup.near.drop(world.names("mine", 1, "reader").entry)
    asked = terms.web.cache_link.count(b"MGET")
    await terms.read()
    assert asked.count == 2


@race("the wait for a term", "a term counted from the question")
async def test_a_renewed_term_begins_with_its_question(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 47. The reply to a question about another entry, which renews the note's term, is late."""
    terms = await _terms(world, monkeypatch)
    await terms.read()
    terms.time.real_s += _term_s(1.01)
    reply = terms.web.cache_link.hold_reply(b"MGET")
    waiting = world.begin(terms.web.read(view="mine"))
    await reply.reached.wait()
    await terms.change()
    reply.release()
    await waiting
    shown = (await terms.web.read()).value["body"]
    never(f"{shown} was shown", happened=shown != "v2")


@race("terms that are being renewed")
async def test_a_term_that_is_being_renewed_ends_with_the_breaker(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 45, 47. The breaker opens and closes while the question that renews it is under way."""
    terms = await _terms(world, monkeypatch)
    await terms.read()
    terms.time.real_s += _term_s(0.95)
    request = terms.web.cache_link.hold_request(b"MGET")
    waiting = world.begin(terms.web.read(view="summary"))
    await request.reached.wait()
    breaker = terms.web.stoker.cache.breaker
    breaker.trip("changes go to another cache")
    await world.sql("UPDATE notes SET body = 'v2'")
    await world.first.stoker.cache.store.unlink([world.names().stamp])
    breaker.open, breaker.reason = False, None  # as when all is applied
    reading = world.begin(terms.web.read())
    await turns()
    request.release()
    await waiting
    shown = (await reading).value["body"]
    never(f"{shown} was shown", happened=shown != "v2")


async def test_a_term_is_renewed_a_few_times_for_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = await _terms(world, monkeypatch)
    await terms.read()
    plan = terms.web.stoker.cache.plan("mine", 1, reader=1)
    renewals = -1
    before = None
    while plan.served is not before:
        before = plan.served
        renewals += 1
        terms.time.real_s += _term_s(1.01)
        await terms.web.read()
    assert renewals == 1 + CREDIT


async def test_an_entry_whose_term_is_always_renewed_is_refreshed_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = await _terms(world, monkeypatch)
    await terms.read()
    refreshed: list[EntryKey] = []
    monkeypatch.setattr(terms.web.stoker.cache, "_ask_refresh", refreshed.append)
    terms.time.real_s += _term_s(1.01)
    lookup = terms.web.stoker.cache.store.lookup
    name = world.names("mine", 1, "reader").entry
    kept = lookup.near.get(name)
    assert kept is not None
    lookup.near.put(name, kept._replace(envelope=kept.envelope._replace(eager_ms=0)))
    await terms.web.read()
    assert [str(key) for key in refreshed] == ["reader:1/mine"]


async def test_without_a_term_redis_is_always_asked(world: World) -> None:
    process = await world.warmed()
    asked = process.cache_link.count(b"MGET")
    for _ in range(3):
        await process.read()
    assert asked.count == 3


async def test_a_term_is_not_served_by_a_process_that_does_not_want_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = await _terms(world, monkeypatch, web_ms=0)
    asked = terms.web.cache_link.count(b"MGET")
    await terms.web.read()
    assert asked.count == 1


@race("the wait for a term", "the bound of a term", "the share of a term that is served")
async def test_what_was_before_an_applied_change_is_not_served_within_a_term(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 47. Whatever the rates of the two clocks, as far as clocks are adjusted at all."""
    terms = await _terms(world, monkeypatch)
    await terms.change()
    await terms.shows("v2")


@race("the wait for a term", "the bound of a term")
async def test_a_right_that_was_taken_away_is_not_served_within_a_term(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 23, 39, 47. Without a worker: the stamps are unlinked in the process that commits."""
    monkeypatch.setattr(stoker.revocation, "PATIENCE", timedelta(0))
    terms = await _terms(world, monkeypatch)
    async with terms.worker.stoker.session() as session:
        await remove(terms.worker, session)
        await terms.worker.stoker.commit_revocation(session)
    await is_refused(terms.web)


@race("the wait for a term")
async def test_what_is_invalidated_by_hand_is_not_served_within_a_term(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 47. `invalidate_now` waits, too, so its own process needs no rule of its own."""
    terms = await _terms(world, monkeypatch)
    await world.sql("UPDATE notes SET body = 'v2'")
    await terms.web.stoker.invalidate_now([Invalidation(reader(1))])
    shown = (await terms.web.read(view="mine")).value
    never(f"{shown} was shown", happened=shown != ["v2"])


@race("a term counted from the question")
async def test_a_late_reply_does_not_begin_a_term(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 47. A reply that says "valid" may be as old as its question."""
    terms = await _terms(world, monkeypatch)
    terms.time.real_s += TERM_MS / 1000 / SLOW
    reply = terms.web.cache_link.hold_reply(b"MGET")
    waiting = world.begin(terms.web.read())
    await reply.reached.wait()
    await terms.change()
    reply.release()
    assert (await waiting).value["body"] == "v1"  # begun before the change
    shown = (await terms.web.read()).value["body"]
    never(f"{shown} was shown", happened=shown != "v2")


@race("a clock that is read after what is served is fixed")
async def test_a_process_that_is_stopped_before_it_reads_its_clock_asks_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 47. It has taken what it would serve, is stopped until that is over, and goes on."""
    terms = await _terms(world, monkeypatch)
    cache = terms.web.stoker.cache
    plan = cache.plan("detail", 1, reader=1)
    taken = Plan.__dict__["served"]

    def stopped(self: Plan) -> object:
        served = taken.__get__(self)
        terms.time.real_s += _term_s(1.01)
        return served

    with monkeypatch.context() as patch:
        patch.setattr(Plan, "served", property(stopped, taken.__set__))
        shown = cache.in_term(plan, 1)
    never(f"{shown} was shown after its term", happened=shown is not None)


@race("a clock that goes on in a stopped process")
async def test_a_process_that_was_stopped_does_not_go_on_with_its_term(world: World) -> None:
    """Row 47. SIGSTOP within a term; a change is applied; SIGCONT."""
    worker = await world.process(cache={"term_ms": 300})
    worker.stoker.cache.store.lookup.terms.now_s = stoker.cache.term.now_s  # only the reader's may be wrong
    await worker.stoker.cache_term.keep()
    async with child_of("read_within_a_term", world) as (reader, says):
        assert await says() == "read"
        os.kill(reader.pid, signal.SIGSTOP)
        await world.write()
        await worker.apply()
        os.kill(reader.pid, signal.SIGCONT)
        assert reader.stdin is not None
        reader.stdin.write(b"again\n")
        shown = await says()
        never(f"{shown} was shown", happened=shown != "v2")


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no such clock")
@race("a clock that goes on in a suspend")
async def test_a_machine_that_was_suspended_does_not_go_on_with_its_term(world: World) -> None:
    """Row 47. The reader's machine is suspended within a term; a change is applied; it wakes up."""
    worker = await world.process(cache={"term_ms": TERM_MS})
    worker.stoker.cache.store.lookup.terms.now_s = stoker.cache.term.now_s  # only the reader's may be wrong
    await worker.stoker.cache_term.keep()
    async with child_of("read_after_a_suspend", world) as (reader, says):
        assert await says() == "read"
        await world.write()
        await worker.apply()
        assert reader.stdin is not None
        reader.stdin.write(b"again\n")
        shown = await says()
        if "unshare" in shown:
            pytest.skip(f"no time namespace: {shown}")
        assert shown in {"v1", "v2"}
        never(f"{shown} was shown", happened=shown != "v2")


@race("a clock that nobody sets")
async def test_a_wall_clock_that_is_set_back_does_not_lengthen_a_term(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 17, 47."""
    web = await world.process(cache={"term_ms": 50})
    worker = await world.process(cache={"term_ms": 50})
    await worker.stoker.cache_term.keep()
    await web.stoker.cache_term.learn()
    await world.warmed(web)
    await world.write()
    await worker.apply()
    monkeypatch.setattr(WALL, "back_s", 3600)
    shown = (await web.read()).value["body"]
    never(f"{shown} was shown", happened=shown != "v2")


@race("the installation's term")
async def test_a_readers_own_longer_term_does_not_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 47. Two processes with different settings, as during a deployment."""
    terms = await _terms(world, monkeypatch, worker_ms=100)
    await terms.change()
    await terms.shows("v2")


@race("the wait learned after the unlink")
async def test_a_term_that_is_raised_before_the_unlink_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 47. The worker knows the old term; another one has raised it since."""
    terms = await _terms(world, monkeypatch, worker_ms=0)
    await terms.worker.stoker.cache_term.keep()  # notes the old one
    other = await world.process(cache={"term_ms": TERM_MS})
    unlink = terms.worker.cache_link.hold_request(b"UNLINK")
    await world.write("v2")
    applying = world.begin(terms.worker.apply())
    await unlink.reached.wait()
    await other.stoker.cache_term.keep()
    await terms.learn()
    unlink.release()
    await applying
    await terms.shows("v2")


@race("the wait learned by a question that begins after the unlink")
async def test_a_wait_is_not_learned_by_a_question_that_began_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 47. Whoever invalidates at the same time shares a question; not one that is under way."""
    terms = await _terms(world, monkeypatch, worker_ms=0)
    other = await world.process(cache={"term_ms": TERM_MS})
    read, answered, go_on = CacheTerm._longest_ms, asyncio.Event(), asyncio.Event()

    async def held(self: CacheTerm, connection: AsyncConnection | None) -> int:
        found = await read(self, connection)
        answered.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(CacheTerm, "_longest_ms", held)
    first = world.begin(terms.worker.stoker.cache_term.over())
    await answered.wait()
    await other.stoker.cache_term.keep()
    began_s = terms.time.real_s
    waits = [world.begin(terms.worker.stoker.cache_term.over()) for _ in range(3)]
    await turns()
    go_on.set()
    await asyncio.gather(first, *waits)
    waited_s = (terms.time.real_s - began_s) * FAST
    never(f"it waited {waited_s} s", happened=waited_s < TERM_MS / 1000)


async def test_who_invalidates_at_the_same_time_shares_a_question(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    term, asked = world.first.stoker.cache_term, 0
    read = CacheTerm._longest_ms

    async def counted(self: CacheTerm, connection: AsyncConnection | None) -> int:
        nonlocal asked
        asked += 1
        return await read(self, connection)

    monkeypatch.setattr(CacheTerm, "_longest_ms", counted)
    await asyncio.gather(*(term.over() for _ in range(50)))
    assert asked == 2  # the first one's, and one for all who came after it had begun
    await term.over()
    assert asked == 3


@race("a term known for some seconds only")
async def test_a_reader_that_does_not_hear_of_a_lower_term_ends_the_old_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 47. It is cut off from Postgres while the term is lowered, and the wait after it."""
    terms = await _terms(world, monkeypatch)
    lower = await world.process(cache={"term_ms": 0})
    terms.time.keep(lower, FAST)
    await lower.stoker.cache_term.keep()
    await lower.stoker.cache_term.keep()  # sees the change
    terms.time.real_s += (SURE_S + TERM_MS / 1000) / FAST + 0.001
    await lower.stoker.cache_term.keep()
    await terms.read()
    await terms.change()
    await terms.shows("v2")


@race("a term known since the question for it")
async def test_a_late_answer_does_not_make_a_reader_sure_of_the_term_for_longer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 47. Postgres has answered, and the answer comes when it is no longer sure."""
    terms = await _terms(world, monkeypatch)
    row = CacheTerm._row

    async def late(self: CacheTerm) -> TermRow:
        found = await row(self)
        terms.time.real_s += SURE_S * SERVED / SLOW
        return found

    monkeypatch.setattr(CacheTerm, "_row", late)
    await terms.learn()
    asked = terms.web.cache_link.count(b"MGET")
    await terms.web.read()
    never("a term was served that was not known any more", happened=asked.count != 1)


@race("no term by a question from before its end")
async def test_a_question_from_before_an_outage_begins_no_term_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 45, 47. The breaker opens and closes while the reply is under way."""
    terms = await _terms(world, monkeypatch)
    terms.time.real_s += _term_s(1.01)
    reply = terms.web.cache_link.hold_reply(b"MGET")
    waiting = world.begin(terms.web.read())
    await reply.reached.wait()
    breaker = terms.web.stoker.cache.breaker
    breaker.trip("changes go to another cache")
    await world.sql("UPDATE notes SET body = 'v2'")
    await world.first.stoker.cache.store.unlink([world.names().stamp])
    breaker.open, breaker.reason = False, None  # as when all is applied
    reply.release()
    await waiting
    shown = (await terms.web.read()).value["body"]
    never(f"{shown} was shown", happened=shown != "v2")


@race("the wait kept after the term was lowered")
async def test_the_old_term_is_waited_for_while_a_reader_may_serve_by_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 47. A reader learns of a lower term some seconds later."""
    terms = await _terms(world, monkeypatch)
    lower = await world.process(cache={"term_ms": 0})
    await lower.stoker.cache_term.keep()
    await terms.change()
    await terms.shows("v2")


async def test_after_a_term_was_lowered_the_wait_becomes_shorter(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = await _terms(world, monkeypatch)
    lower = await world.process(cache={"term_ms": 100})
    terms.time.keep(lower, 1.0)
    for _ in range(2):
        await lower.stoker.cache_term.keep()
    terms.time.real_s += SURE_S + TERM_MS / 1000 - 0.1
    await lower.stoker.cache_term.keep()
    assert (await backlog(lower.stoker.engine)).term_ms == TERM_MS  # as operators see it
    terms.time.real_s += 0.1
    await lower.stoker.cache_term.keep()
    assert (await backlog(lower.stoker.engine)).term_ms == 100


async def test_a_term_that_is_raised_again_is_not_taken_for_the_lowered_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was lowered and raised while a worker did not look: what that one saw says nothing any more."""
    terms = await _terms(world, monkeypatch)
    lower = await world.process(cache={"term_ms": 100})
    terms.time.keep(lower, 1.0)
    for _ in range(2):
        await lower.stoker.cache_term.keep()
    terms.time.real_s += 2 * SURE_S
    await world.sql("UPDATE stoker.cache_term SET term_ms = 200, changes = changes + 1")
    await world.sql("UPDATE stoker.cache_term SET term_ms = 100, changes = changes + 1")
    await lower.stoker.cache_term.keep()
    assert await world.sql("SELECT longest_ms FROM stoker.cache_term") == TERM_MS


@race("terms ending with the breaker")
async def test_nothing_is_served_after_an_outage_from_before_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 45, 47. The breaker opened because changes go to another cache: its answers count no more."""
    terms = await _terms(world, monkeypatch)
    terms.web.stoker.cache.breaker.trip("changes go to another cache")
    await world.sql("UPDATE notes SET body = 'v2'")
    names = world.names()
    await world.first.stoker.cache.store.unlink([names.stamp, world.names("mine", 1, "reader").stamp])
    await terms.web.stoker.cache.breaker.check()
    await terms.web.stoker.cache.breaker.check()
    assert not terms.web.stoker.cache.breaker.open
    await terms.shows("v2")


async def test_an_open_breaker_reads_sql_whatever_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = await _terms(world, monkeypatch)
    terms.web.stoker.cache.breaker.trip("the test says so")
    assert (await terms.web.read(view="mine")).state is State.BYPASS


async def test_another_reader_gets_nothing_within_a_term(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = await _terms(world, monkeypatch)
    with pytest.raises(Forbidden):
        await terms.web.read(view="mine", reader=2)
    with pytest.raises(Forbidden):
        await terms.web.read(reader=2)
    with pytest.raises(NotFound):
        await terms.web.read(99, reader=1)


async def test_a_reader_that_only_equals_another_is_not_answered_in_its_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = await _terms(world, monkeypatch)
    await terms.web.read(reader=1)
    for other in (True, 1.0):  # equal to 1, and no such reader
        with pytest.raises(Forbidden):
            await terms.web.stoker.read("detail", 1, reader=other)


async def test_an_expired_entry_is_not_served_within_a_term(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = await _terms(world, monkeypatch)
    plan = terms.web.stoker.cache.plan("detail", 1, reader=1)
    assert plan.served is not None
    own, right = plan.served.found
    assert own.envelope is not None
    ages = own.envelope.left_s(own.server.now_us()) - 0.5
    short = own.envelope._replace(ttl_ms=own.envelope.ttl_ms - round(ages * 1000))
    lookup = terms.web.stoker.cache.store.lookup
    lookup.terms.grant(plan, [own._replace(envelope=short), right], lookup.terms.now_s())
    terms.time.real_s += 0.6 / SLOW
    asked = terms.web.cache_link.count(b"MGET")
    await terms.web.read()
    assert asked.count > 0


async def test_who_cannot_learn_the_term_waits_for_the_longest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres is away, or the transaction would not see a term that was raised since it began."""
    terms = await _terms(world, monkeypatch, worker_ms=0)
    clock = terms.worker.stoker.cache.store.lookup.terms
    away = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/nowhere", poolclass=NullPool)
    began_s = clock.now_s()
    await CacheTerm(away, clock, 0).over()
    assert clock.now_s() - began_s == pytest.approx(LONGEST_TERM_MS / 1000)
    engine = terms.worker.stoker.engine.execution_options(isolation_level="REPEATABLE READ")
    began_s = clock.now_s()
    async with engine.connect() as connection:
        await terms.worker.stoker.cache_term.over(connection)
    assert clock.now_s() - began_s == pytest.approx(LONGEST_TERM_MS / 1000)
    began_s = clock.now_s()
    await terms.worker.stoker.cache_term.over()
    assert clock.now_s() == began_s


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no such clock")
def test_the_clock_of_terms_goes_on_while_the_machine_sleeps() -> None:
    assert isinstance(now_s, partial)
    assert now_s.args == (time.CLOCK_BOOTTIME,)
