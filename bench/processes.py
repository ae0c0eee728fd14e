"""What the kernel says of processes: CPU time and memory. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PARENT, USER, SYSTEM, OF_CHILDREN_USER, OF_CHILDREN_SYSTEM = 1, 11, 12, 13, 14
"""Places in /proc/<pid>/stat after the name."""


def cpu_s(root: int) -> float:
    """CPU time of a process and of its children, those that have ended included, in seconds."""
    own = _stat(root)
    ticks = sum(int(own[place]) for place in (USER, SYSTEM, OF_CHILDREN_USER, OF_CHILDREN_SYSTEM))
    ticks += sum(int(stat[place]) for stat in _children(root) for place in (USER, SYSTEM))
    return ticks / TICKS_PER_S


def parent_of(pid: int) -> int:
    """The process id of its parent."""
    return int(_stat(pid)[PARENT])


def megabytes(field: str, pid: int | str = "self") -> float:
    """A size in /proc/<pid>/status: VmRSS is what is resident now, VmHWM the most that ever was."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def _children(root: int) -> Iterator[list[str]]:
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            stat = _stat(int(place.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if int(stat[PARENT]) == root:
            yield stat


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
