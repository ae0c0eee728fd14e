"""The places of processes under chaos: what is said of a process that does not end."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from stoker.chaos import slots
from stoker.chaos.slots import Slot

STUBBORN = """
import asyncio, signal
from stoker.chaos import stacks

async def waits_for_ever():
    await asyncio.get_running_loop().create_future()

async def main():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stacks.write_when_asked()
    waiting = asyncio.create_task(waits_for_ever(), name="the task that hangs")
    print("worker.started", flush=True)
    await waiting

asyncio.run(main())
"""


async def test_a_process_that_does_not_end_says_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "STOP_WITHIN_S", 0.1)
    slot = Slot("worker-1", (sys.executable, "-c", STUBBORN), os.environ, tmp_path, re.compile(b"(started)"))
    slot.start()
    await slot.ready()
    await slot.stop()
    [said] = slot.disorderly
    assert said.startswith("worker-1 did not end within 0.1 s of SIGTERM:\n")
    assert re.search(r"task the task that hangs:\n +<string>:\d+ waits_for_ever\n +<.*Future", said)
    assert "Current thread" in said
