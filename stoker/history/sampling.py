"""The loop that samples in a process without a worker, such as one that serves the API.

A worker that is killed must not take the history of its own outage with it: whoever lives samples, one at a
time. While Postgres is away nothing is added; the minutes are noted when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta

from stoker.errors import DatabaseUnavailable
from stoker.history.figures import FigureHistory
from stoker.history.sampler import Sampler
from stoker.stoker import Stoker

log = logging.getLogger(__name__)


async def keep_sampling(stoker: Stoker, every: timedelta) -> None:
    """Sample until cancelled."""
    sampler = Sampler(stoker, FigureHistory(stoker.engine), every)
    while True:
        try:
            with contextlib.suppress(DatabaseUnavailable):
                await sampler.sample()
        except Exception:  # the API goes on, and so does the next sample
            log.exception("history.sample_failed")
        await asyncio.sleep(every.total_seconds())
