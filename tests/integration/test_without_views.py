"""An application that brings jobs alone, and caches nothing: no part of Stoker takes that for a failure."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stoker import MAINTENANCE, Domain, Job, JobContext, Lane, Stoker
from stoker.errors import UnknownView
from stoker.jobs import KeepWarm, Prune, Verify
from stoker.operations.overview import overview
from stoker.settings import ScheduleSettings
from stoker.testing import drain
from stoker.worker.schedule.tasks import tasks
from tests.support.place import Place


class Note(Job):
    kind = "note"
    lane = "notes"


async def note(_: JobContext, __: Note) -> None:
    """Do nothing."""


domain = Domain(
    name="jobs_alone",
    scopes=(),
    views=(),
    rules=(),
    lanes=(Lane("notes"),),
    handlers={Note: note},
    schedule=MAINTENANCE,
)


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    async with Stoker.opened(place.settings(), domain) as stoker:
        yield stoker


async def test_each_job_of_the_maintenance_ends_well(stoker: Stoker) -> None:
    for task in tasks(ScheduleSettings(), domain):
        await stoker.enqueue(task.job)
    drained = await drain(stoker)
    assert [run.kind for run in drained.ran] == [KeepWarm.kind, Verify.kind, Prune.kind]
    assert {run.outcome for run in drained.ran} == {"done"}


async def test_the_overview_misses_nothing(stoker: Stoker) -> None:
    found = await overview(stoker, 60)
    assert (found.missing, found.views) == ({}, {})


async def test_a_view_that_is_asked_for_is_refused_in_words(stoker: Stoker) -> None:
    with pytest.raises(UnknownView, match="no view 'page'; there are: none"):
        await stoker.read("page", 1)
