"""Other releases, other databases, a full server (rows 30, 42, 44)."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import text

from stoker import (
    Invalidation,
    Scope,
    State,
)
from stoker.migrate import renew_installation
from stoker.outbox.record import InvalidationRequested
from tests.races.race import race
from tests.races.world import World, applies, fill, never
from tests.support.notes import Notes, note


@race("unknown kinds applied from their scopes")
async def test_a_view_that_only_another_release_knows_is_not_left_valid(world: World) -> None:
    """Row 30. An event of a newer release is applied from the scopes that it carries."""
    newer = Scope("note", "1")
    stamp = world.first.stoker.cache.store.keys.stamp(newer, "newer_view")
    await world.redis.set(stamp, "x")
    await world.warmed()
    await world.sql("UPDATE notes SET body = 'v2'")
    await world.sql(
        "INSERT INTO stoker.cache_events (kind, payload, scopes) VALUES ('note.renamed_by_a_newer_release',"
        """ '{"anything": 1}', '[["note", "1", ["detail", "newer_view"], 0, 0]]')"""
    )
    await world.first.apply()
    await world.must_show("v2")
    assert not await world.redis.exists(stamp)


@race("every view meaning those of this release too")
async def test_a_view_that_an_older_release_did_not_know_is_not_left_valid(world: World) -> None:
    """Row 30. "Every view" of an older release means those that this one knows, too."""
    await world.warmed()
    await world.sql("UPDATE notes SET body = 'v2'")
    await world.sql(
        "INSERT INTO stoker.cache_events (kind, payload, scopes) VALUES ('note.changed',"
        """ '{"note_id": 1}', '[["note", "1", ["an_older_view"], 0, 1]]')"""
    )
    await world.first.apply()
    await world.must_show("v2")


@race("stamps without a version")
async def test_two_releases_do_not_keep_each_others_stamps_alive(world: World) -> None:
    """Row 30. Stamp keys carry no version: whichever release applies a change, both see it."""
    newer = Notes()
    views = tuple(replace(view, version=2) for view in newer.domain.views)
    object.__setattr__(newer, "domain", replace(newer.domain, views=views))
    process = await world.warmed(await world.process(newer))
    await world.warmed()
    await world.change("v2")
    await world.must_show("v2", process)
    await world.must_show("v2")


@race("the installation in the prefix")
async def test_a_database_that_went_back_in_time_does_not_meet_its_old_cache(world: World) -> None:
    """Row 42. A restored database gets a new id, and with it other keys."""
    await world.sql("UPDATE notes SET body = 'lost in the restore'")
    await world.warmed()
    await world.sql("UPDATE notes SET body = 'v1'")  # the restore
    await renew_installation(world.urls.database)
    shown = await (await world.process()).body()
    never(f"{shown!r} was shown", happened=shown != "v1")


@race("plain unlinks")
async def test_a_full_cache_does_not_refuse_invalidations(full_cache: World) -> None:
    """Row 44. Scripts are refused, plain unlinks are not."""
    await full_cache.warmed()
    await fill(full_cache)
    await full_cache.write("v2")
    await applies(full_cache.first)
    await full_cache.must_show("v2")


@race("a full cache being a miss")
async def test_a_full_cache_does_not_count_as_an_outage(full_cache: World) -> None:
    """Row 44. Reads go on as misses; what is cached is still served."""
    process = await full_cache.warmed()
    await fill(full_cache)
    assert (await process.read()).state is State.HIT
    await full_cache.change("v2")
    shown = await process.read()
    assert shown.value["body"] == "v2"
    never(f"the cache counts as away: {shown.state}", happened=process.stoker.cache.breaker.open)


@race()
async def test_an_invalidation_asked_for_by_hand_is_not_forgotten(world: World) -> None:
    """Rows 6, 30. What an operator asks for is recorded like any other event."""
    await world.warmed()
    await world.sql("UPDATE notes SET body = 'v2'")
    async with world.first.stoker.session() as session:
        asked = InvalidationRequested.of([Invalidation(note(1))])
        world.first.stoker.record(session, asked)
        await session.execute(text("SELECT 1"))
        await session.commit()
    await world.first.apply()
    await world.must_show("v2")
