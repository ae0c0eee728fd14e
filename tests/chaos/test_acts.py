"""The jobs that misbehave do it in the way that they are there for."""

from __future__ import annotations

from typing import cast

import pytest

from stoker.chaos.acts import Act, AskedToFail, What, act
from stoker.handlers.context import JobContext
from stoker.worker.engine.retry import Dead, decide, is_known_outage


async def test_a_job_that_fails_uses_up_its_tries() -> None:
    # As an outage it would be retried for a day, and no run would come to rest.
    with pytest.raises(AskedToFail) as failed:
        await act(cast("JobContext", None), Act(what=What.FAIL))
    assert not is_known_outage(failed.value)
    assert decide(Act.retry, failed.value, Act.retry.attempts) == Dead("exhausted")
