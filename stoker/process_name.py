"""The name of this process that operators see, in rows that say who did something."""

from __future__ import annotations

import os
import socket


def process_name() -> str:
    """`host:pid`; a process that forks has another one."""
    return f"{socket.gethostname()[:80]}:{os.getpid()}"
