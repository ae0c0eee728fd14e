"""`stoker cover --mutate` over the example application, from the call to the proof."""

from __future__ import annotations

import time

from bench.figures import Figure
from bench.ground import Bench
from jobs import domain
from stoker.coverage.mutate import mutate

IDS = ("cover-time",)
BOUND_S = 60.0


async def measure(bench: Bench) -> list[Figure]:
    """In this process, on the database that all rows use. It commits nothing."""
    started = time.monotonic()
    proof = await mutate(bench.urls.database, domain)
    took_s = time.monotonic() - started
    changes = sum(one.changes for one in proof.tried)
    note = f"{changes} changes tried on {proof.entries} entries; {len(proof.missed)} missed"
    return [Figure("cover-time", "the bound", "s", "<= 1", [took_s], [BOUND_S], note)]
