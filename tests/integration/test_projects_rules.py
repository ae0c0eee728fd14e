"""What the writes of the application record, and what that makes invalid."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from jobs import domain
from jobs.events import ContentsChanged, ProjectChanged, UserChanged
from jobs.inputs import (
    ClassificationChanges,
    NewPredicate,
    NewProject,
    PredicateChanges,
    ProjectChanges,
    UserName,
)
from jobs.scopes import PROJECT, Role
from stoker import EntryKey, Invalidation
from stoker.embedded import Urls
from tests.support.projects_world import (
    CLASSIFICATION,
    DOCUMENT,
    INTERACTION,
    World,
    opened_world,
    settings,
)

Write = Callable[[World], Awaitable[object]]

SECOND = NewPredicate(k_number="K059999", device_name="Masimo Rad-5", similarity=0.5, selected=True)

CONTENTS: dict[str, Write] = {
    "add_classification": lambda w: w.service.add_classification(w.ben, w.alpha, CLASSIFICATION),
    "update_classification": lambda w: w.service.update_classification(
        w.ben, w.alpha, w.classification, ClassificationChanges(device_class="III")
    ),
    "remove_classification": lambda w: w.service.remove_classification(w.ben, w.alpha, w.classification),
    "add_predicate": lambda w: w.service.add_predicate(w.ben, w.alpha, SECOND),
    "update_predicate": lambda w: w.service.update_predicate(
        w.ben, w.alpha, w.predicate, PredicateChanges(similarity=0.1)
    ),
    "remove_predicate": lambda w: w.service.remove_predicate(w.ben, w.alpha, w.predicate),
    "add_document": lambda w: w.service.add_document(w.ben, w.alpha, DOCUMENT),
    "remove_document": lambda w: w.service.remove_document(w.ben, w.alpha, w.document),
    "add_interaction": lambda w: w.service.add_interaction(w.ben, w.alpha, INTERACTION),
    "remove_interaction": lambda w: w.service.remove_interaction(w.ben, w.alpha, w.interaction),
}
SOFT: dict[str, Write] = {
    "update_project": lambda w: w.service.update_project(w.ben, w.alpha, ProjectChanges(name="Renamed")),
    "rename_user": lambda w: w.service.rename_user(w.ann, UserName(name="Anna")),
    "touch_user": lambda w: w.service.touch_user(w.ann),
}
NEVER_AGAIN: dict[str, Write] = {
    "create_project": lambda w: w.service.create_project(w.ann, NewProject(name="Gamma", device_type="Cuff")),
    "add_member": lambda w: w.service.add_member(w.ann, w.alpha, w.dot, Role.VIEWER),
    "change_role": lambda w: w.service.change_role(w.ann, w.alpha, w.cid, Role.EDITOR),
    "remove_member": lambda w: w.service.remove_member(w.ann, w.alpha, w.cid),
    "transfer_owner": lambda w: w.service.transfer_owner(w.ann, w.alpha, w.dot),
    "delete_project": lambda w: w.service.delete_project(w.dot, w.alpha),
    "deactivate_user": lambda w: w.service.deactivate_user(w.ben),
}
"""Writes that may take a right away, in an order in which all are possible: after them old bytes of these
views may not be served even when a loader fails (RACES 22)."""


@pytest.fixture
async def world(
    database_url: str, server_urls: Urls, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    # No worker runs: do not wait for it.
    monkeypatch.setattr("stoker.revocation.PATIENCE", timedelta(0))
    async with opened_world(settings(database_url, server_urls, prefix)) as world:
        yield world


async def said(world: World, write: Write) -> set[Invalidation]:
    """What the events that a write recorded make invalid, as they are applied after it."""
    before = len(await world.events())
    await write(world)
    return {one for event in (await world.events())[before:] for one in await world.invalidated_by(event)}


async def test_contents_invalidate_dashboard_and_export_of_their_project_and_nothing_else(
    world: World,
) -> None:
    only = {Invalidation(PROJECT.scope(world.alpha), {"dashboard", "export"})}
    assert {name: await said(world, write) for name, write in CONTENTS.items()} == dict.fromkeys(
        CONTENTS, only
    )


async def test_a_change_that_takes_no_right_away_is_soft(world: World) -> None:
    for write in SOFT.values():
        found = await said(world, write)
        assert found
        assert not any(one.hard for one in found)


async def test_what_a_right_depends_on_is_never_served_again(world: World) -> None:
    shown = {key: value for key, value in (await world.snapshot()).items() if key.view == "access"}
    for name, write in NEVER_AGAIN.items():
        hard = [one for one in await said(world, write) if one.hard]
        after = {key: value for key, value in (await world.snapshot()).items() if key.view == "access"}
        changed = {key for key in shown.keys() | after.keys() if shown.get(key) != after.get(key)}
        assert changed, name
        assert not {key for key in changed if not any(one.covers(key) for one in hard)}, name
        shown = after


async def test_an_update_of_a_project_leaves_who_may_read_it(world: World) -> None:
    invalidated = await said(world, SOFT["update_project"])
    scope = PROJECT.scope(world.alpha)
    covered = {
        view
        for view in domain.view_names_by_scope[PROJECT.name]
        if any(one.covers(EntryKey(view, scope)) for one in invalidated)
    }
    assert covered == {"dashboard", "detail", "export"}


async def test_only_what_no_table_shows_is_recorded_by_the_application(world: World) -> None:
    for write in [*CONTENTS.values(), *SOFT.values(), *NEVER_AGAIN.values()]:
        await write(world)
    by_hand = {event.kind for event in await world.events(recorded_by="application")}
    assert by_hand == {UserChanged.kind}
    assert {event.kind for event in await world.events()} == set(domain.rules_by_kind)


async def test_a_change_inside_a_project_is_recorded_where_another_program_makes_it(world: World) -> None:
    before = len(await world.events())
    async with world.stoker.session() as session, session.begin():
        await session.execute(text("UPDATE predicate_devices SET similarity = 0.2"))
    assert (await world.events())[before:] == [ContentsChanged(project_id=world.alpha)]


async def test_a_member_who_joins_before_an_update_is_applied_is_in_its_audience(world: World) -> None:
    # RACES 32: Dot joins after the update was recorded.
    await world.service.update_project(world.ann, world.alpha, ProjectChanges(name="Renamed"))
    update = (await world.events())[-1]
    await world.service.add_member(world.ann, world.alpha, world.dot, Role.VIEWER)
    assert isinstance(update, ProjectChanged)
    assert f"user:{world.dot}" in {str(one.scope) for one in await world.invalidated_by(update)}


async def test_the_audience_of_many_events_is_asked_for_at_once(world: World) -> None:
    rule = domain.rules_by_kind[ProjectChanged.kind]
    assert rule.audience is not None
    events = [ProjectChanged(project_id=project_id) for project_id in (world.alpha, world.beta)]
    async with world.stoker.session() as session:
        found = {str(one.scope) for one in await rule.audience(session, events)}
    assert found == {f"user:{world.ann}", f"user:{world.ben}", f"user:{world.cid}"}
