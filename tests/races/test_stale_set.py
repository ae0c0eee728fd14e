"""A value that was read before a change is never kept after it (rows 1-5, 12, 13, 16, 18)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import Engine, NullPool, create_engine, make_url, text

from stoker import NotFound, Refresh, State, Warm
from stoker.cache.envelope import decode
from stoker.errors import Defer
from tests.races.guards import filling
from tests.races.race import race
from tests.races.world import World, deferred, never, patience
from tests.support.notes import SCHEMA, NoteChanged


@race("stamps", "the stamp before the load")
async def test_a_value_overtaken_by_a_change_is_not_kept(world: World) -> None:
    """Row 1. Stamps are taken before the load and compared by the storing script and by every read."""
    process = world.first
    await process.read(view="access")
    loader = process.notes.hold_after("detail")
    overtaken = world.begin(process.read())
    await loader.reached.wait()
    await world.change("v2")
    loader.release()
    assert (await overtaken).value["body"] == "v1", "its own caller still gets an answer"
    await world.must_show("v2")


@race("stamps compared by the read")
async def test_an_entry_kept_before_a_change_is_not_served_after_it(world: World) -> None:
    """Row 1, the plain case. Every read compares the entry's stamps with those in force."""
    await world.warmed()
    await world.change("v2")
    await world.must_show("v2")


@race("stamps compared by the store")
async def test_a_late_older_value_does_not_displace_the_newer_one(world: World) -> None:
    """Rows 12, 13. The storing script compares the stamps, whichever process held the lease."""
    slow, quick = world.first, await world.process()
    loader = slow.notes.hold_after("detail")
    overtaken = world.begin(slow.read())
    await loader.reached.wait()
    await world.change("v2")
    assert await quick.body() == "v2"
    assert await world.kept() is not None
    loader.release()
    await overtaken
    never("the newer entry is gone", happened=await world.kept() != b'{"body":"v2"}')


@race("stamps")
async def test_a_late_older_value_is_not_kept_in_an_evicted_entrys_place(world: World) -> None:
    """Row 13. The stamp lives outside the entry: evicting the entry forgets no change."""
    slow, quick = world.first, await world.process()
    loader = slow.notes.hold_after("detail")
    overtaken = world.begin(slow.read())
    await loader.reached.wait()
    await world.change("v2")
    assert await quick.body() == "v2"
    await world.redis.unlink(world.names().entry)
    loader.release()
    await overtaken
    await world.must_show("v2", quick)


@race("stamps outliving entries")
async def test_a_stamp_does_not_end_before_its_entry(world: World) -> None:
    """Row 13. Storing extends the stamps' lives past the entry's."""
    await world.warmed()
    names = world.names()
    entry_ms, *stamps_ms = [await world.redis.pttl(key) for key in (names.entry, names.stamp, names.hard)]
    never("a stamp ends before its entry", happened=min(stamps_ms) <= entry_ms)


@race("stamps")
async def test_a_refresh_overtaken_by_a_change_is_not_kept(world: World) -> None:
    """Rows 2, 18. A refresh stores through the same guard, and asks to run again."""
    process = world.first
    loader = process.notes.hold_after("detail")
    job = Refresh(view="detail", scope_id="1")
    overtaken = world.begin(process.task(job))
    await loader.reached.wait()
    await world.change("v2")
    loader.release()
    with suppress(Defer):
        await overtaken
    await world.must_show("v2")


@race("overtaken refreshes deferred")
async def test_a_refresh_overtaken_by_a_change_is_not_taken_for_done(world: World) -> None:
    """Rows 18, 26. Overtaken means deferred, not done."""
    process = world.first
    loader = process.notes.hold_after("detail")
    overtaken = world.begin(process.task(Refresh(view="detail", scope_id="1")))
    await loader.reached.wait()
    await world.change("v2")
    loader.release()
    never("nobody builds what the change made", happened=not await deferred(overtaken))


@race("stamps")
async def test_a_warming_overtaken_by_a_change_is_not_kept(world: World) -> None:
    """Rows 2, 18. Warming stores many entries at once through the same guard."""
    process = world.first
    loader = process.notes.hold_after("detail")
    overtaken = world.begin(process.task(Warm(target="active")))
    await loader.reached.wait()
    await world.change("v2")
    loader.release()
    await overtaken
    await world.must_show("v2")


@race("stamps")
async def test_an_eager_refresh_overtaken_by_a_change_is_not_kept(world: World) -> None:
    """Row 2. An ageing entry is served while its rebuild is overtaken and discarded."""
    process = await world.warmed()
    seal = world.first.stoker.cache.store.seal
    stored = decode(await world.redis.get(world.names().entry) or b"", seal)
    assert stored is not None
    process.stoker.cache.store.lookup.near.drop(world.names().entry)
    await world.redis.set(world.names().entry, stored._replace(eager_ms=0).encode(seal), keepttl=True)
    asked = process.queue_link.hold_reply(b"refresh.v1")
    assert (await process.read()).state is State.HIT
    async with patience("the ageing entry's refresh was not asked for"):
        await asked.reached.wait()
    asked.release()
    loader = process.notes.hold_after("detail")
    rebuild = world.begin(process.task(Refresh(view="detail", scope_id="1")))
    await loader.reached.wait()
    await world.change("v2")
    loader.release()
    with suppress(Defer):
        await rebuild
    await world.must_show("v2")


@race("events in the writer's transaction")
async def test_a_change_is_not_applied_before_its_commit(world: World) -> None:
    """Row 3. Events are rows of the writer's transaction: nobody can apply them earlier."""
    stoker = world.first.stoker
    async with stoker.session() as session:
        await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
        async with session.begin_nested():  # its release writes the row
            stoker.record(session, NoteChanged(note_id=1))
        await world.first.apply()
        assert await world.first.body() == "v1"
        await session.commit()
    await world.first.apply()
    await world.must_show("v2")


@race("a fresh transaction")
async def test_an_old_snapshot_is_not_kept_under_a_new_stamp(world: World) -> None:
    """Row 4. Each load begins a transaction of its own, after its stamp was taken."""
    await world.sql("INSERT INTO notes VALUES (2, 'other')")
    await world.sql("INSERT INTO note_members VALUES (2, 1)")
    await world.first.read(2)
    await world.change("v2")
    await world.must_show("v2")


@race()
async def test_a_load_that_has_not_read_yet_sees_the_change_that_overtook_it(world: World) -> None:
    """Row 4. A transaction that begins after the change gives its caller the change."""
    process = world.first
    loader = process.notes.hold_before("detail")
    overtaken = world.begin(process.read())
    await loader.reached.wait()
    await world.change("v2")
    loader.release()
    assert (await overtaken).value["body"] == "v2"
    await world.must_show("v2")


@race("stamps compared by the read")
async def test_a_value_stored_while_the_reply_was_lost_is_invalidated_like_any_other(world: World) -> None:
    """Row 16. Nothing has to be registered after the store: the read validates what it finds."""
    process = world.first
    await process.read(view="access", note_id=1)
    lost = process.cache_link.lose_reply(process.digest("store"))
    assert await process.body() == "v1"
    assert lost.reached.is_set()
    assert await world.kept() is not None, "the server did store it"
    await world.change("v2")
    await world.must_show("v2")


@race("stamps")
async def test_a_flush_between_stamp_and_store_is_not_outlived_by_the_value(world: World) -> None:
    """Rows 1, 14. A flush removes the stamps, so a load that began before it is not stored."""
    process = world.first
    loader = process.notes.hold_after("detail")
    overtaken = world.begin(process.read())
    await loader.reached.wait()
    await world.redis.flushall()
    await world.change("v2")
    loader.release()
    await overtaken
    await world.must_show("v2")


@race()
async def test_scripts_flushed_between_stamp_and_store_do_not_lose_the_build(world: World) -> None:
    """A server that forgot its scripts gets them again within the same call."""
    process = world.first
    loader = process.notes.hold_after("detail")
    build = world.begin(process.read())
    await loader.reached.wait()
    await world.redis.script_flush()
    loader.release()
    await build
    assert await world.kept() == b'{"body":"v1"}'


@race("nothing kept of what does not exist")
async def test_a_note_deleted_while_its_refresh_is_queued_is_not_kept(world: World) -> None:
    """Row 29. The loader finds nothing: GONE, nothing stored, and readers are told NotFound."""
    await world.sql("DELETE FROM notes WHERE id = 1")
    outcome = await world.first.task(Refresh(view="detail", scope_id="1"))
    kept = await world.kept()
    never(f"the refresh of what is gone kept {kept!r}", happened=kept is not None)
    assert outcome == "gone"
    assert not await world.redis.exists(world.names().lease), "the lease was given back"
    with pytest.raises(NotFound):
        await world.first.read()
    await asyncio.gather(
        world.sql("INSERT INTO notes VALUES (1, 'v2')"),
    )
    await world.sql("INSERT INTO note_members VALUES (1, 1)")
    await world.must_show("v2")


@pytest.fixture
def replica(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A lagging replica, which still has the first rows. It is read only when the guard is gone."""
    monkeypatch.setattr(filling, "REPLICA", database_url)
    engine = create_engine(database_url.replace("+asyncpg", "+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        for statement in (
            *SCHEMA,
            "INSERT INTO notes VALUES (1, 'v1')",
            "INSERT INTO note_members VALUES (1, 1)",
        ):
            connection.execute(text(statement))
    return engine


@race("loaders on the primary")
async def test_a_lagging_replica_does_not_fill_the_cache(replica: Engine, world: World) -> None:
    """Row 5. Loaders read the database that writers write to, never a replica."""
    process = await world.warmed()
    assert replica.url.database != make_url(world.urls.database).database
    await world.change("v2")
    await world.must_show("v2", process)
