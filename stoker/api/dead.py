"""Routes under /api/jobs/dead: jobs that will not run again by themselves, by cause; retry, discard."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stoker.api.access import Operator, Viewer
from stoker.api.context import OpenStoker
from stoker.api.texts import Text64
from stoker.cache.view import LARGEST_ID
from stoker.operations import listings, steering
from stoker.operations.figures import DeadJob, dead_list
from stoker.operations.listings import DeadGroup
from stoker.worker.engine.dead_letters import Which

router = APIRouter(prefix="/api/jobs/dead", tags=["dead letters"])

FINGERPRINT = r"^[0-9a-f]{1,32}$"


class DeadJobs(BaseModel):
    """A page of dead jobs, the latest first; ask for what is `before` the last id for the next page."""

    dead: list[DeadJob]


class DeadGroups(BaseModel):
    """Dead letters by cause, the latest first."""

    groups: list[DeadGroup]


class WhichDead(BaseModel):
    """Which dead letters: one of the fields, or `all`."""

    model_config = ConfigDict(extra="forbid")
    id: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    kind: Text64 | None = None
    fingerprint: str | None = Field(default=None, pattern=FINGERPRINT)
    all: bool = False

    @model_validator(mode="after")
    def _something(self) -> WhichDead:
        given = [self.id, self.kind, self.fingerprint]
        if self.all == any(one is not None for one in given):
            msg = "give id, kind or fingerprint, or all: true"
            raise ValueError(msg)
        return self

    def which(self) -> Which:
        """The choice as the engine takes it."""
        return Which(id=self.id, kind=self.kind, fingerprint=self.fingerprint)


class Retried(BaseModel):
    """How many jobs are back in their lanes, and how many letters this release cannot read."""

    retried: int
    unreadable: int


class Discarded(BaseModel):
    """How many letters are gone."""

    discarded: int


@router.get("")
async def dead(
    _: Viewer,
    stoker: OpenStoker,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
    fingerprint: Annotated[str | None, Query(pattern=FINGERPRINT)] = None,
) -> DeadJobs:
    """Jobs that will not run again by themselves."""
    return DeadJobs(dead=await dead_list(stoker, limit, before, fingerprint))


@router.get("/groups")
async def dead_groups(
    _: Viewer, stoker: OpenStoker, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> DeadGroups:
    """The same by cause: what died alike has one fingerprint."""
    return DeadGroups(groups=await listings.dead_groups(stoker, limit))


@router.post("/retry")
async def retry(asked: WhichDead, operator: Operator, stoker: OpenStoker) -> Retried:
    """Put jobs back into their lanes, as new jobs."""
    found = await steering.retry_dead(stoker, operator.actor, asked.which())
    return Retried(retried=found.enqueued, unreadable=found.unreadable)


@router.post("/discard")
async def discard(asked: WhichDead, operator: Operator, stoker: OpenStoker) -> Discarded:
    """Delete dead letters for good."""
    return Discarded(discarded=await steering.discard_dead(stoker, operator.actor, asked.which()))
