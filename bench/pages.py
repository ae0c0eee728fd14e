"""Dashboards of the sample data of about 4 KB, each with a reader."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic_core import to_json

from jobs.queries import dashboards
from stoker import Stoker

BODY_BYTES = 4096
CANDIDATES = 1500


@dataclass(frozen=True, slots=True)
class Page:
    """A project's dashboard: `body` as it is sent, `owner` one who may read it."""

    project: int
    owner: int
    body: bytes

    @property
    def plain_key(self) -> str:
        """Where the peers keep the same bytes."""
        return f"plain:dashboard:{self.project}"


async def pages(stoker: Stoker, count: int) -> list[Page]:
    """The dashboards nearest to 4 KB, warm in Stoker's cache."""
    async with stoker.session() as session:
        values = await dashboards(session, range(1, max(CANDIDATES, count) + 1))
    built = [Page(number, value["owner"]["id"], to_json(value)) for number, value in values.items()]
    built.sort(key=lambda page: abs(len(page.body) - BODY_BYTES))
    for page in built[:count]:
        reading = await stoker.read("dashboard", page.project, reader=page.owner)
        assert reading.body == page.body, "the cache and the query disagree"
    return built[:count]
