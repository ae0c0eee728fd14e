"""What the services allow, refuse and answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.orm import Session

from jobs.cached import CachedProjectService
from jobs.events import MemberChanged, ProjectChanged, UserChanged
from jobs.inputs import NewProject, NewUser, PredicateChanges, ProjectChanges
from jobs.params import ExportParams, ListParams, SearchParams
from jobs.scopes import Role
from jobs.service import ProjectService
from jobs.tables import projects
from stoker import (
    Applied,
    BadRequest,
    CacheUnavailable,
    CommittedNotApplied,
    Forbidden,
    Invalidation,
    NotFound,
    State,
    Stoker,
)
from stoker.embedded import Urls
from tests.support.projects_world import (
    CLASSIFICATION,
    DOCUMENT,
    INTERACTION,
    PREDICATE,
    World,
    opened_world,
    settings,
)

Attempt = Callable[[ProjectService, World, int, int], Awaitable[object]]

LARGEST = 2**63 - 1

WRITER_ATTEMPTS: dict[str, Attempt] = {
    "update_project": lambda s, _, actor, at: s.update_project(actor, at, ProjectChanges(name="Mine")),
    "add_classification": lambda s, _, actor, at: s.add_classification(actor, at, CLASSIFICATION),
    "select_predicate": lambda s, w, actor, at: s.select_predicate(actor, at, w.predicate),
    "remove_predicate": lambda s, w, actor, at: s.remove_predicate(actor, at, w.predicate),
    "add_document": lambda s, _, actor, at: s.add_document(actor, at, DOCUMENT),
    "add_interaction": lambda s, _, actor, at: s.add_interaction(actor, at, INTERACTION),
    "request_export": lambda s, _, actor, at: s.request_export(actor, at),
}
OWNER_ATTEMPTS: dict[str, Attempt] = {
    "delete_project": lambda s, _, actor, at: s.delete_project(actor, at),
    "transfer_owner": lambda s, w, actor, at: s.transfer_owner(actor, at, w.dot),
    "add_member": lambda s, w, actor, at: s.add_member(actor, at, w.dot, Role.VIEWER),
    "change_role": lambda s, w, actor, at: s.change_role(actor, at, w.cid, Role.EDITOR),
}
READ_ATTEMPTS: dict[str, Attempt] = {
    "detail": lambda s, _, actor, at: s.detail(actor, at),
    "dashboard": lambda s, _, actor, at: s.dashboard(actor, at),
    "export": lambda s, _, actor, at: s.export(actor, at),
}


@pytest.fixture
async def world(database_url: str, server_urls: Urls, prefix: str) -> AsyncIterator[World]:
    async with opened_world(settings(database_url, server_urls, prefix)) as world:
        yield world


async def test_writes_are_refused_to_those_whom_sql_refuses(world: World) -> None:
    recorded = len(await world.events())
    refused = [
        *((attempt, actor) for attempt in WRITER_ATTEMPTS.values() for actor in (world.cid, world.dot)),
        *((attempt, actor) for attempt in OWNER_ATTEMPTS.values() for actor in (world.ben, world.dot)),
        *((attempt, world.dot) for attempt in READ_ATTEMPTS.values()),
    ]
    for attempt, actor in refused:
        with pytest.raises(Forbidden):
            await attempt(world.service, world, actor, world.alpha)
    assert len(await world.events()) == recorded


async def test_an_unknown_project_is_not_found_for_anybody(world: World) -> None:
    for attempt in (WRITER_ATTEMPTS | OWNER_ATTEMPTS | READ_ATTEMPTS).values():
        for nowhere in (999, LARGEST):
            with pytest.raises(NotFound):
                await attempt(world.service, world, world.ann, nowhere)
        with pytest.raises(BadRequest):
            await attempt(world.service, world, world.ann, LARGEST + 1)


async def test_an_item_of_another_project_is_not_found(world: World) -> None:
    for item in (world.predicate, 999, LARGEST + 1, -1):
        with pytest.raises(NotFound):
            await world.service.update_predicate(world.ben, world.beta, item, PredicateChanges(selected=True))


async def test_changes_that_cannot_be_name_their_field(world: World) -> None:
    attempts: list[tuple[str, Awaitable[object]]] = [
        ("k_number", world.service.add_predicate(world.ann, world.alpha, PREDICATE)),
        ("user_id", world.service.add_member(world.ann, world.alpha, world.ben, Role.VIEWER)),
        ("role", world.service.add_member(world.ann, world.alpha, world.dot, Role.OWNER)),
        ("email", world.service.create_user(NewUser(name="Other", email="ann@example.com"))),
    ]
    for field, attempt in attempts:
        with pytest.raises(BadRequest) as refused:
            await attempt
        assert refused.value.field == field


async def test_the_owner_stays_a_member_until_the_project_is_handed_over(world: World) -> None:
    with pytest.raises(NotFound):
        await world.service.remove_member(world.ann, world.alpha, world.ann)
    await world.service.transfer_owner(world.ann, world.alpha, world.dot)
    assert (await world.service.detail(world.ann, world.alpha))["owner"]["name"] == "Dot"
    with pytest.raises(Forbidden):
        await world.service.delete_project(world.ann, world.alpha)
    await world.service.delete_project(world.dot, world.alpha)


async def test_each_change_has_a_higher_revision_which_the_named_views_show(world: World) -> None:
    service = world.service
    own, _ = await service.update_project(world.ann, world.alpha, ProjectChanges(name="Second"))
    inside, _ = await service.add_interaction(world.ben, world.alpha, INTERACTION)
    member, _ = await service.change_role(world.ann, world.alpha, world.cid, Role.EDITOR)
    assert own.revision < inside.revision < member.revision
    assert own.shown_by == {"detail", "dashboard", "export", "list", "search", "stats"}
    assert inside.shown_by == {"dashboard", "export"}
    assert member.shown_by == set()
    assert (await service.detail(world.ann, world.alpha))["revision"] == own.revision
    assert (await service.dashboard(world.ann, world.alpha))["revision"] == inside.revision
    assert (await service.export(world.ann, world.alpha))["revision"] == inside.revision
    as_csv = await service.export(world.ann, world.alpha, ExportParams(format="csv"))
    assert as_csv["revision"] == inside.revision
    page = await service.list_projects(world.ann)
    assert [item["revision"] for item in page["items"]] == [own.revision]
    assert (await service.stats(world.ann))["revision"] == own.revision


async def test_revisions_of_concurrent_writers_are_in_the_order_of_commits(world: World) -> None:
    written = await asyncio.gather(
        *(
            world.service.update_project(world.ann, world.alpha, ProjectChanges(name=f"Name {number}"))
            for number in range(12)
        )
    )
    revision_in = {receipt.transaction_id: result.revision for result, receipt in written}
    # Events are numbered under the project's lock, so in the order of commits.
    recorded = await world.transactions_of(ProjectChanged)
    revisions = [revision_in[transaction] for transaction in recorded if transaction in revision_in]
    assert revisions == sorted(set(revisions))
    assert len(revisions) == len(written)
    assert (await world.service.detail(world.ann, world.alpha))["revision"] == revisions[-1]


async def test_somebody_added_while_the_project_is_deleted_does_not_come_too_late(world: World) -> None:
    # Either Dot's row is deleted with the project, and that is recorded, or their addition finds no project.
    removed, added = await asyncio.gather(
        world.service.delete_project(world.ann, world.alpha),
        world.service.add_member(world.ann, world.alpha, world.dot, Role.VIEWER),
        return_exceptions=True,
    )
    assert not isinstance(removed, BaseException)
    of_dot = [
        event
        for event in await world.events()
        if isinstance(event, MemberChanged) and event.user_id == world.dot
    ]
    assert len(of_dot) == (0 if isinstance(added, NotFound) else 2)


async def test_lists_filter_page_and_order(world: World) -> None:
    service = world.service
    for name in ("50% saline", "50 saline", "A_B", "AxB"):
        await service.create_project(world.ann, NewProject(name=name, device_type="Infusion Pump"))

    async def names(**params: object) -> list[str]:
        page = await service.list_projects(world.ann, ListParams.model_validate(params))
        return [item["name"] for item in page["items"]]

    assert await names() == ["AxB", "A_B", "50 saline", "50% saline", "Alpha"]
    assert await names(q="50%") == ["50% saline"]
    assert await names(q="a_b") == ["A_B"]
    assert await names(q="INFUSION", limit=2, offset=1) == ["A_B", "50 saline"]
    assert await names(device_type="Pulse Oximeter") == ["Alpha"]
    assert await names(status="completed") == []
    assert (await service.list_projects(world.ann, ListParams(limit=1)))["total"] == 5
    assert (await service.list_projects(world.cid))["items"][0]["role"] == "viewer"


async def test_search_ranks_the_place_where_it_found(world: World) -> None:
    service = world.service
    use = "Compared with an oximeter"
    await service.create_project(world.ann, NewProject(name="Oximeter X", device_type="Other"))
    await service.create_project(world.ann, NewProject(name="Other", device_type="Other", intended_use=use))
    found = await service.search(world.ann, SearchParams(query="OXIMETER"))
    places = [(item["name"], item["found_in"]) for item in found["items"]]
    assert places == [("Oximeter X", "name"), ("Alpha", "device_type"), ("Other", "intended_use")]
    assert (await service.search(world.dot, SearchParams(query="oximeter")))["items"] == []


async def test_a_deactivated_user_has_nothing_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.revocation.PATIENCE", timedelta(0))
    await world.service.deactivate_user(world.ben)
    for attempt in (
        world.service.list_projects(world.ben),
        world.service.stats(world.ben),
        world.service.search(world.ben, SearchParams(query="beta")),
    ):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(Forbidden):
        await world.service.detail(world.ben, world.beta)
    with pytest.raises(Forbidden):
        await world.service.create_project(world.ben, NewProject(name="x", device_type="x"))
    with pytest.raises(NotFound):
        await world.service.add_member(world.ann, world.alpha, world.ben, Role.VIEWER)


async def test_a_removed_member_is_refused_the_cached_page_without_a_worker(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RACES 23: no worker runs, so the removal unlinks inline.
    monkeypatch.setattr("stoker.revocation.PATIENCE", timedelta(0))
    cached = CachedProjectService(world.stoker)
    await cached.dashboard(world.cid, world.alpha)
    assert (await cached.dashboard(world.cid, world.alpha)).state is State.HIT
    await cached.remove_member(world.ann, world.alpha, world.cid)
    with pytest.raises(Forbidden):
        await cached.dashboard(world.cid, world.alpha)


async def test_a_removal_that_nobody_acknowledges_does_not_pretend(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RACES 39: committed, but worker and cache are out of reach.
    async def away(_stoker: Stoker, _invalidations: list[Invalidation]) -> None:
        raise CacheUnavailable("the cache does not answer")

    monkeypatch.setattr("stoker.revocation.PATIENCE", timedelta(0))
    monkeypatch.setattr(Stoker, "unlink", away)
    with pytest.raises(CommittedNotApplied) as told:
        await world.service.remove_member(world.ann, world.alpha, world.cid)
    assert told.value.event_id > 0
    with pytest.raises(Forbidden):
        await world.service.detail(world.cid, world.alpha)


async def test_cached_reads_answer_what_sql_does(world: World) -> None:
    cached, plain = CachedProjectService(world.stoker), world.service
    for _ in range(2):
        assert (await cached.detail(world.cid, world.alpha)).value == await plain.detail(
            world.cid, world.alpha
        )
        assert (await cached.dashboard(world.cid, world.alpha)).value == await plain.dashboard(
            world.cid, world.alpha
        )
        asked = ExportParams(format="csv")
        assert (await cached.export(world.cid, world.alpha, asked)).value == await plain.export(
            world.cid, world.alpha, asked
        )
        assert (await cached.list_projects(world.cid)).value == await plain.list_projects(world.cid)
        assert (await cached.stats(world.cid)).value == await plain.stats(world.cid)
        query = SearchParams(query="alpha")
        assert (await cached.search(world.cid, query)).value == await plain.search(world.cid, query)
    with pytest.raises(Forbidden):
        await cached.dashboard(world.dot, world.alpha)


async def test_a_sync_session_records_in_its_own_transaction(world: World, database_url: str) -> None:
    """As a script or a Django view would: psycopg, a plain Session, the same `record`."""

    def rename(name: str, *, commit: bool) -> Applied | None:
        engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
        with Session(engine) as session:
            session.execute(projects.update().where(projects.c.id == world.alpha).values(name=name))
            receipt = world.stoker.record(session, UserChanged(user_id=world.ann))
            session.commit() if commit else session.rollback()
        engine.dispose()
        return None if commit else asyncio.run(receipt.applied())

    recorded = len(await world.events())
    assert await asyncio.to_thread(rename, "Never", commit=False) is Applied.ROLLED_BACK
    assert len(await world.events()) == recorded
    await asyncio.to_thread(rename, "By a script", commit=True)
    assert (await world.events())[-2:] == [
        ProjectChanged(project_id=world.alpha),
        UserChanged(user_id=world.ann),
    ]
    assert (await world.service.detail(world.ann, world.alpha))["name"] == "By a script"
