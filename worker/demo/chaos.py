"""The projects domain under chaos: what `make chaos` reads and changes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from jobs import domain
from jobs.cached import CachedProjectService
from jobs.inputs import NewInteraction, NewPredicate, PredicateChanges, ProjectChanges
from jobs.scopes import Role
from jobs.writes import Result
from stoker import Domain, Stoker
from stoker.chaos import Change, Probe, Revocation

USERS = 12
PROJECTS_PROBED = 20
GUESTS = 500
"""Users who own nothing: each is let into a project once, and removed for good."""
STATUSES = ("draft", "in_progress", "completed")
PROJECT_VIEWS = ("dashboard", "detail", "export")
WITH_ITEMS = ("list", "search")
NEWER_VIEW, NEWER_EVENT = "search", "interaction_added"
"""What the release before this one did not have."""

_PROJECTS = text("SELECT id, owner_id FROM projects ORDER BY id")
_PREDICATE = text("SELECT id FROM predicate_devices WHERE project_id = :project ORDER BY random() LIMIT 1")


class ProjectsWorkload:
    """Edits of projects and of what is in them, members who come and go; every view is read."""

    domain = "jobs"

    def __init__(self) -> None:
        self._projects: list[tuple[int, int]] = []
        self._guests: list[int] = []
        self._numbers = itertools.count(1)

    async def prepare(self, database_url: str, seed: int) -> None:
        """A dozen users and what belongs to them."""
        assert domain.sample_data is not None  # noqa: S101 - the domain that ships has some
        await domain.sample_data.load(database_url, seed, USERS, lambda _done, _total: None)
        engine = create_async_engine(database_url)
        async with engine.begin() as connection:
            await connection.execute(_INVITE, {"guests": GUESTS})
        await engine.dispose()

    async def probes(self, stoker: Stoker) -> Sequence[Probe]:
        """The pages of some projects as their owners read them, and the lists of their owners."""
        projects = (await self._known(stoker))[:PROJECTS_PROBED]
        pages = [Probe(view, project, None, owner) for project, owner in projects for view in PROJECT_VIEWS]
        owners = sorted({owner for _, owner in projects})
        lists = [Probe("list", owner, None, owner) for owner in owners]
        lists += [Probe("list", owner, {"status": "draft"}, owner) for owner in owners]
        lists += [Probe("search", owner, {"query": "device"}, owner) for owner in owners]
        lists += [Probe("stats", owner, None, owner) for owner in owners]
        # Pages and lists take turns, so that both are among the popular ones.
        mixed = itertools.chain.from_iterable(itertools.zip_longest(pages, lists))
        return [probe for probe in mixed if probe is not None]

    async def change(self, stoker: Stoker, rng: Random) -> Change:
        """One change by an owner of one of the first projects."""
        project, owner = rng.choice((await self._known(stoker))[:PROJECTS_PROBED])
        service = CachedProjectService(stoker)
        kind = rng.choices(("row", "predicate", "interaction", "similarity", "member"), (5, 2, 2, 3, 2))[0]
        match kind:
            case "row":
                result = await service.update_project(owner, project, self._edit(rng))
            case "predicate":
                number = f"K{rng.randrange(10, 100)}{rng.randrange(10_000):04d}"
                new = NewPredicate(k_number=number, device_name="Predicate", similarity=rng.random())
                result = await service.add_predicate(owner, project, new)
            case "similarity":
                result = await self._similarity(stoker, service, owner, project, rng)
            case "member":
                result = await self._member(stoker, service, owner, project, rng)
            case _:
                summary = f"Looked at {next(self._numbers)} times"
                result = await service.add_interaction(
                    owner, project, NewInteraction(agent="classifier", summary=summary)
                )
        written, receipt = result
        return Change(receipt, {f"{view} {project}": written.revision for view in written.shown_by})

    async def revoke(self, stoker: Stoker, number: int) -> Revocation | None:
        """A guest becomes a member of a project, looks at it, and is removed."""
        guests = await self._invited(stoker)
        project, owner = (await self._known(stoker))[number % PROJECTS_PROBED]
        guest = guests[number // PROJECTS_PROBED % len(guests)]
        service = CachedProjectService(stoker)
        await service.add_member(owner, project, guest, Role.VIEWER)
        pages = [Probe(view, project, None, guest) for view in PROJECT_VIEWS]
        for page in pages:
            await stoker.read(page.view, page.scope_id, reader=guest)
        _, receipt = await service.remove_member(owner, project, guest)
        return Revocation(receipt, pages)

    def shows(self, probe: Probe, value: Any) -> Mapping[str, int]:  # noqa: ANN401 - each view's own shape
        """The revision of a page, or of each item of a list; of figures, none."""
        if probe.view in PROJECT_VIEWS:
            return {f"{probe.view} {probe.scope_id}": value["revision"]}
        if probe.view in WITH_ITEMS:
            return {f"{probe.view} {item['id']}": item["revision"] for item in value["items"]}
        return {}

    def older(self, domain: Domain) -> Domain:
        """Without the search, and without knowing that an agent was asked."""
        return replace(
            domain,
            views=tuple(view for view in domain.views if view.name != NEWER_VIEW),
            rules=tuple(rule for rule in domain.rules if rule.event.kind != NEWER_EVENT),
        )

    def _edit(self, rng: Random) -> ProjectChanges:
        number = next(self._numbers)
        return rng.choice(
            (
                ProjectChanges(status=rng.choice(STATUSES)),
                ProjectChanges(name=f"A device, revision {number}"),
                ProjectChanges(intended_use=f"Measures what matters, in its version {number}."),
            )
        )

    async def _similarity(
        self, stoker: Stoker, service: CachedProjectService, owner: int, project: int, rng: Random
    ) -> Result:
        async with stoker.session() as session:
            predicate = await session.scalar(_PREDICATE, {"project": project})
        if predicate is None:
            return await service.update_project(owner, project, self._edit(rng))
        changes = PredicateChanges(similarity=rng.random())
        return await service.update_predicate(owner, project, predicate, changes)

    async def _member(
        self, stoker: Stoker, service: CachedProjectService, owner: int, project: int, rng: Random
    ) -> Result:
        """Who is a member goes, who is none comes."""
        others = sorted({other for _, other in await self._known(stoker)} - {owner})
        user = rng.choice(others)
        async with stoker.session() as session:
            is_member = await session.scalar(_MEMBER, {"project": project, "user": user})
        if is_member:
            return await service.remove_member(owner, project, user)
        return await service.add_member(owner, project, user, Role.VIEWER)

    async def _known(self, stoker: Stoker) -> list[tuple[int, int]]:
        if not self._projects:
            async with stoker.session() as session:
                self._projects = [(row.id, row.owner_id) for row in await session.execute(_PROJECTS)]
        return self._projects

    async def _invited(self, stoker: Stoker) -> list[int]:
        if not self._guests:
            async with stoker.session() as session:
                self._guests = list(await session.scalars(_GUESTS))
        return self._guests


_INVITE = text("""
INSERT INTO users (name, email)
SELECT 'Guest ' || number, 'guest-' || number || '@example.org' FROM generate_series(1, :guests) number
""")
_GUESTS = text("SELECT id FROM users WHERE email LIKE 'guest-%' ORDER BY id")
_MEMBER = text("SELECT role FROM project_members WHERE project_id = :project AND user_id = :user")

workload = ProjectsWorkload()
