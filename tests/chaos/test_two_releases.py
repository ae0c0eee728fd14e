"""Two releases side by side: what only the newer one knows is not destroyed by the older one (RACES 30)."""

from __future__ import annotations

import pytest

from stoker.errors import StokerError, UnknownScope, UnknownView
from stoker.jobs import Invalidate, Job, Refresh, Warm
from stoker.worker.engine.retry import Again, decide


@pytest.mark.parametrize(
    ("job", "error"),
    [
        (Refresh, UnknownView("no view 'forecast'", field="view")),
        (Warm, UnknownScope("nothing to warm for 'team'", field="target")),
        (Invalidate, UnknownScope("no scope kind 'team'", field="kind")),
    ],
)
def test_a_job_for_what_only_a_newer_release_has_is_not_dead_at_once(
    job: type[Job], error: StokerError
) -> None:
    assert isinstance(decide(job.retry, error, 1), Again)
