"""The writes of the simulated users: edits of projects and their contents, and changes of members.

Each write waits until it is applied, so that every read after its answer is checked against it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic_core import from_json

from stoker.chaos import Web
from worker.demo.traffic import Traffic
from worker.demo.world import OWNER, Project

Answer = dict[str, Any]
Edit = Callable[[Web, Project, float], Awaitable[None]]
CREATED = frozenset({200, 201, 202})
REFUSED_AFTER_REMOVAL = ("dashboard", "detail", "export")


class Edits:
    """Writes of all users."""

    def __init__(self, traffic: Traffic) -> None:
        self._world = traffic.world
        self._traffic = traffic
        self._rng = traffic.rng
        self._numbers = itertools.count(1)
        self._shares: dict[Edit, int] = {
            self.update_project: 26,
            self._add_classification: 8,
            self._update_classification: 8,
            self._add_predicate: 8,
            self._update_predicate: 18,
            self._remove_predicate: 4,
            self._add_document: 4,
            self._add_interaction: 4,
            self._add_member: 8,
            self.remove_member: 9,
            self._short_life: 3,
        }
        """Out of a hundred."""

    def ask_for_exports(self) -> None:
        """From now on users ask for exports, too."""
        self._shares[self._request_export] = 12

    async def one(self, web: Web, due: float) -> None:
        """Any write on a popular project; the first removes a member, so that no run lacks a removal."""
        [edit] = self._rng.choices(list(self._shares), list(self._shares.values()))
        if not web.tally.revocations:
            edit = self.remove_member
        await edit(web, self._traffic.project(), due)

    async def update_project(self, web: Web, project: Project, due: float) -> None:
        """Change a field of its row."""
        number = next(self._numbers)
        changes: Answer = self._rng.choice(
            (
                {"status": self._rng.choice(("draft", "in_progress", "completed"))},
                {"name": f"{project.device_type}, revision {number}"},
                {"intended_use": f"Measures what matters, in its version {number}."},
            )
        )
        await self._write(web, "PATCH", project, "", due, changes)

    async def _add_classification(self, web: Web, project: Project, due: float) -> None:
        new = {
            "device_class": self._rng.choice(("I", "II", "III")),
            "product_code": "DQA",
            "regulation_number": "870.2700",
            "confidence": self._share(),
        }
        done = await self._write(web, "POST", project, "/classifications", due, new)
        if done:
            project.classifications.append(done["id"])

    async def _update_classification(self, web: Web, project: Project, due: float) -> None:
        if project.classifications:
            item = project.classifications[-1]
            await self._write(
                web, "PATCH", project, f"/classifications/{item}", due, {"confidence": self._share()}
            )

    async def _add_predicate(self, web: Web, project: Project, due: float) -> None:
        number = next(self._numbers)
        # K-numbers of sample data are of the years before 26.
        new = {
            "k_number": f"K{26 + number // 10_000 % 70}{number % 10_000:04d}",
            "device_name": f"{project.device_type} {number}",
            "similarity": self._share(),
        }
        done = await self._write(web, "POST", project, "/predicates", due, new)
        if done:
            project.predicates.append(done["id"])

    async def _update_predicate(self, web: Web, project: Project, due: float) -> None:
        if not project.predicates:
            return
        # Taken out meanwhile, so that no other user removes it during this change.
        item = project.predicates.pop(self._rng.randrange(len(project.predicates)))
        changes: Answer = self._rng.choice(
            ({"similarity": self._share()}, {"selected": self._rng.random() < 0.5})  # noqa: PLR2004
        )
        await self._write(web, "PATCH", project, f"/predicates/{item}", due, changes)
        project.predicates.append(item)

    async def _remove_predicate(self, web: Web, project: Project, due: float) -> None:
        if project.predicates:
            item = project.predicates.pop(self._rng.randrange(len(project.predicates)))
            await self._write(web, "DELETE", project, f"/predicates/{item}", due)

    async def _add_document(self, web: Web, project: Project, due: float) -> None:
        new = {"title": f"Bench test {next(self._numbers)}", "kind": "test_report", "size_bytes": 2048}
        await self._write(web, "POST", project, "/documents", due, new)

    async def _add_interaction(self, web: Web, project: Project, due: float) -> None:
        new = {"agent": "classifier", "summary": f"Class II, checked {next(self._numbers)} times"}
        await self._write(web, "POST", project, "/interactions", due, new)

    async def _request_export(self, web: Web, project: Project, due: float) -> None:
        await self._write(web, "POST", project, f"/exports?format={self._rng.choice(('json', 'csv'))}", due)

    async def _add_member(self, web: Web, project: Project, due: float) -> None:
        """A stranger becomes a member, and sees the project from then on."""
        user, role = self._traffic.stranger(project), self._rng.choice(("editor", "viewer"))
        if user is None:
            return
        self._world.joining(project, user)
        rights = self._world.rights[user]

        def joined(_: Answer) -> None:
            if rights == self._world.rights[user]:  # only members whom no other user is removing
                self._world.joined(project, user, role)

        path = f"/members/{user}/{role}"
        await self._write(web, "POST", project, path, due, actor=project.owner, applied=joined)
        if user in project.members:
            await web.read(self._traffic.read_of_project("dashboard", project, user))

    async def remove_member(self, web: Web, project: Project, due: float) -> None:
        """A member who has just read is removed, and must be refused from the answer on."""
        user = self._traffic.removable(project)
        if user is None:
            return await self._add_member(web, project, due)
        for view in REFUSED_AFTER_REMOVAL:
            if user not in project.members:  # another user is removing them
                return None
            await web.read(self._traffic.read_of_project(view, project, user))
        if user not in project.members:
            return None
        self._world.leaving(project, user)
        done = await self._write(
            web, "DELETE", project, f"/members/{user}", time.perf_counter(), actor=project.owner
        )
        if done:
            self._world.left(project, user)
            web.tally.revocations += 1
            for view in REFUSED_AFTER_REMOVAL:
                await web.intrude(self._traffic.read_of_project(view, project, user))
        return None

    async def _short_life(self, web: Web, _project: Project, due: float) -> None:
        """Create, read and delete a project; then no reader must find it."""
        owner, name = self._traffic.user(), f"Pilot {next(self._numbers)}"
        new = Project(0, owner, 0, 0, self._rng.choice(self._traffic.device_types), {owner: OWNER}, {owner})
        body = {"name": name, "device_type": new.device_type, "intended_use": "Reads to try."}
        done = await self._write(web, "POST", new, None, due, body)
        if not done or done["applied"] != "applied":
            return
        new.id = done["id"]
        self._world.created(new)
        self._world.applied(new.id, done["revision"], done["shown_by"])
        for view in ("detail", "dashboard"):
            await web.read(self._traffic.read_of_project(view, new, owner))
        await web.read(self._traffic.read_of_user("list", owner))
        readers = self._world.deleting(new)
        done = await self._write(web, "DELETE", new, "", time.perf_counter(), actor=owner)
        if done and done["applied"] == "applied":
            for user in readers:
                self._world.left(new, user)
            await web.intrude(self._traffic.read_of_project("detail", new, owner))

    async def _write(  # noqa: PLR0913, PLR0917 - what a write is
        self,
        web: Web,
        method: str,
        project: Project,
        path: str | None,
        due: float,
        body: Answer | None = None,
        actor: int | None = None,
        applied: Callable[[Answer], None] = lambda _: None,
    ) -> Answer | None:
        """One write; None unless it was carried out. A path of None is that of all projects."""
        user, began = actor or self._traffic.writer(project), time.time()
        rights = self._world.rights[user]
        url = "/projects" if path is None else f"/projects/{project.id}{path}"
        reply = await web.send(method, f"{url}{'&' if '?' in url else '?'}wait=1", user, body=body)
        if reply is None:
            return None
        if reply.status not in CREATED:
            if rights == self._world.rights[user] and project.id in self._world.projects:
                what = f"{reply.status} {method} {url}: {reply.body[:200].decode()}"
                web.tally.note("refused a write", what)
            return None
        answer: Answer = from_json(reply.body)

        def in_effect() -> None:
            self._world.applied(project.id, answer["revision"], answer["shown_by"])
            applied(answer)

        web.wrote(answer, due, began, in_effect)
        return answer

    def _share(self) -> float:
        return round(self._rng.random(), 3)
