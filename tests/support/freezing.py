"""Servers that are there and say nothing: their processes are stopped and go on later (SIGSTOP, SIGCONT)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stoker.embedded import Server


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop a server and all its processes while this lasts; their connections stay open."""
    pids = [server.pid, *_children(server.pid)]
    for pid in pids:
        _send(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            _send(pid, signal.SIGCONT)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # a backend may have ended meanwhile
        os.kill(pid, number)
