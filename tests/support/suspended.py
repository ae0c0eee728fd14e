"""A process that finds its clocks as after a suspend: CLOCK_MONOTONIC stood still, CLOCK_BOOTTIME went on.

A test cannot suspend the machine. Linux lets a process join a time namespace instead, in which
CLOCK_MONOTONIC is behind by the time that has passed.
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

CLONE_NEWTIME, CLONE_NEWUSER = 0x80, 0x10000000


class NotPermitted(Exception):
    """This system lets the process make no time namespace."""


def suspended_since(began_s: float) -> None:
    """Put CLOCK_MONOTONIC back to `began_s`, for this process alone; raises NotPermitted.

    The process must not have a second thread.
    """
    if os.geteuid() != 0:
        _call("unshare", CLONE_NEWUSER)
    _call("unshare", CLONE_NEWTIME)
    back_ns = round((began_s - time.clock_gettime(time.CLOCK_MONOTONIC)) * 1e9)
    seconds, nanoseconds = divmod(back_ns, 10**9)
    Path("/proc/self/timens_offsets").write_text(f"monotonic {seconds} {nanoseconds}\n")
    namespace = os.open("/proc/self/ns/time_for_children", os.O_RDONLY)
    try:
        _call("setns", namespace, CLONE_NEWTIME)
    finally:
        os.close(namespace)


def _call(name: str, *arguments: int) -> None:
    # Python has these functions from 3.12 on.
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise NotPermitted(f"{name}: {os.strerror(error)}")
