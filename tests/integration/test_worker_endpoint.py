"""The worker's own Prometheus endpoint."""

from __future__ import annotations

import asyncio
import socket

import httpx

from jobs.contracts import Lane
from worker.metrics import JobMetrics
from worker.process import endpoint
from worker.settings import ProcessSettings


async def test_what_jobs_waited_and_took_can_be_scraped_while_the_worker_runs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    metrics = JobMetrics()
    metrics.job_started(Lane.WARM, "warm.v1", 0.02)
    metrics.job_ended(Lane.WARM, "warm.v1", "done", 1.5)
    async with endpoint(metrics, ProcessSettings(metrics_port=port)):
        text = (await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{port}/metrics")).text
    assert 'stoker_job_wait_seconds_count{lane="warm"} 1.0' in text
    assert 'stoker_job_run_seconds_sum{kind="warm.v1",lane="warm",outcome="done"} 1.5' in text
