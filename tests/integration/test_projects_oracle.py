"""Every view before and after every event: what changed is what its rule invalidates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from jobs import domain
from jobs.inputs import (
    ClassificationChanges,
    NewPredicate,
    NewProject,
    PredicateChanges,
    ProjectChanges,
    UserName,
)
from jobs.scopes import PROJECT, Role, Status
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

CONTENTS = {"dashboard", "export"}
LISTS = {"list", "stats", "search"}
NAMING = {"detail", "dashboard", "export", "list", "search"}
EVERY_PLAIN = {"detail", "dashboard", "export"} | LISTS
ALL = EVERY_PLAIN | {"access"}

SECOND = NewPredicate(k_number="K059999", device_name="Masimo Rad-5", similarity=0.5, selected=True)

WRITES: dict[str, tuple[Write, set[str]]] = {
    "project_created": (
        lambda w: w.service.create_project(w.ann, NewProject(name="Gamma Oximeter", device_type="Cuff")),
        ALL,
    ),
    "project_updated": (
        lambda w: w.service.update_project(
            w.ben, w.alpha, ProjectChanges(name="Renamed", status=Status.COMPLETED)
        ),
        EVERY_PLAIN,
    ),
    "project_deleted": (lambda w: w.service.delete_project(w.ann, w.alpha), ALL),
    "owner_changed": (lambda w: w.service.transfer_owner(w.ann, w.alpha, w.dot), ALL),
    "classification_added": (
        lambda w: w.service.add_classification(w.ben, w.alpha, CLASSIFICATION),
        CONTENTS,
    ),
    "classification_updated": (
        lambda w: w.service.update_classification(
            w.ben, w.alpha, w.classification, ClassificationChanges(device_class="III")
        ),
        CONTENTS,
    ),
    "classification_removed": (
        lambda w: w.service.remove_classification(w.ben, w.alpha, w.classification),
        CONTENTS,
    ),
    "predicate_added": (lambda w: w.service.add_predicate(w.ben, w.alpha, SECOND), CONTENTS),
    "predicate_updated": (
        lambda w: w.service.update_predicate(w.ben, w.alpha, w.predicate, PredicateChanges(similarity=0.1)),
        CONTENTS,
    ),
    "predicate_removed": (lambda w: w.service.remove_predicate(w.ben, w.alpha, w.predicate), CONTENTS),
    "document_added": (lambda w: w.service.add_document(w.ben, w.alpha, DOCUMENT), CONTENTS),
    "document_removed": (lambda w: w.service.remove_document(w.ben, w.alpha, w.document), CONTENTS),
    "interaction_added": (lambda w: w.service.add_interaction(w.ben, w.alpha, INTERACTION), CONTENTS),
    "interaction_removed": (
        lambda w: w.service.remove_interaction(w.ben, w.alpha, w.interaction),
        CONTENTS,
    ),
    "member_added": (lambda w: w.service.add_member(w.ann, w.alpha, w.dot, Role.VIEWER), {"access", *LISTS}),
    "member_removed": (lambda w: w.service.remove_member(w.ann, w.alpha, w.ben), {"access", *LISTS}),
    "member_role_changed": (
        lambda w: w.service.change_role(w.ann, w.alpha, w.cid, Role.EDITOR),
        {"access", *LISTS},
    ),
    "user_renamed": (lambda w: w.service.rename_user(w.ann, UserName(name="Anna")), NAMING),
    "user_deactivated": (lambda w: w.service.deactivate_user(w.ben), {"access", *LISTS}),
    "user_changed": (lambda w: w.service.touch_user(w.ann), set()),
}
"""A write for each event, and the names of exactly those views that it changes somewhere."""

NEVER_AGAIN = {
    "project_deleted",
    "owner_changed",
    "member_added",
    "member_removed",
    "member_role_changed",
    "user_deactivated",
}
"""Events after which old bytes may not be served even when a loader fails (RACES 22)."""


@pytest.fixture
async def world(database_url: str, server_urls: Urls, prefix: str) -> AsyncIterator[World]:
    async with opened_world(settings(database_url, server_urls, prefix)) as world:
        yield world


def covers(invalidations: list[Invalidation], key: EntryKey) -> bool:
    return any(one.scope == key.scope and (not one.views or key.view in one.views) for one in invalidations)


def test_every_event_is_tried() -> None:
    assert set(WRITES) == set(domain.rules_by_kind)


@pytest.mark.parametrize("kind", sorted(WRITES))
async def test_what_changes_is_invalidated(world: World, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # No worker runs: do not wait for it.
    monkeypatch.setattr("stoker.revocation.PATIENCE", timedelta(0))
    write, expected = WRITES[kind]
    before = await world.snapshot()
    await write(world)
    after = await world.snapshot()

    event = (await world.events())[-1]
    assert event.kind == kind
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    invalidated = await world.invalidated_by(event)
    assert {str(key) for key in changed if not covers(invalidated, key)} == set()
    assert {key.view for key in changed} == expected
    assert {one.hard for one in invalidated} == {kind in NEVER_AGAIN}


async def test_contents_invalidate_dashboard_and_export_of_their_project_and_nothing_else(
    world: World,
) -> None:
    for kind in (kind for kind, (_, views) in WRITES.items() if views == CONTENTS):
        await WRITES[kind][0](world)
        event = (await world.events())[-1]
        assert event.kind == kind
        assert await world.invalidated_by(event) == [
            Invalidation(PROJECT.scope(world.alpha), frozenset(CONTENTS))
        ]


async def test_an_update_of_a_project_leaves_who_may_read_it(world: World) -> None:
    await WRITES["project_updated"][0](world)
    invalidated = await world.invalidated_by((await world.events())[-1])
    scope = PROJECT.scope(world.alpha)
    covered = {
        view
        for view in domain.view_names_by_scope[PROJECT.name]
        if covers(invalidated, EntryKey(view, scope))
    }
    assert covered == {"dashboard", "detail", "export"}


async def test_nothing_changes_by_itself(world: World) -> None:
    assert await world.snapshot() == await world.snapshot()


async def test_a_member_who_joined_after_the_writer_read_is_in_the_audience(world: World) -> None:
    # RACES 32: the recorded audience of the update lacks Dot, who joins before it is applied.
    await world.service.update_project(world.ann, world.alpha, ProjectChanges(name="Renamed"))
    update = (await world.events())[-1]
    await world.service.add_member(world.ann, world.alpha, world.dot, Role.VIEWER)
    recorded = domain.rules_by_kind[update.kind].invalidates(update)
    assert f"user:{world.dot}" not in {str(one.scope) for one in recorded}
    assert f"user:{world.dot}" in {str(one.scope) for one in await world.invalidated_by(update)}


async def test_the_audience_of_many_events_is_asked_for_at_once(world: World) -> None:
    rule = domain.rules_by_kind["project_updated"]
    assert rule.audience is not None
    events = [
        rule.event.model_validate({"project_id": project_id, "audience": ()})
        for project_id in (world.alpha, world.beta)
    ]
    async with world.stoker.session() as session:
        found = {str(one.scope) for one in await rule.audience(session, events)}
    assert found == {f"user:{world.ann}", f"user:{world.ben}", f"user:{world.cid}"}
