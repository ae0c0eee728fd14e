"""The user that Postgres runs as: it refuses root, and initdb needs a user with an entry in passwd.

Never adds users and never loosens the mode of a directory. Root becomes user 65534 inside a user namespace,
where it still owns its files. Where the kernel or a container refuses that, it becomes `nobody`.
"""

import enum
import functools
import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

from stoker.embedded.launch import UNPRIVILEGED


class Identity(enum.StrEnum):
    """How the launcher changes user before it becomes the server."""

    SELF = "self"
    MAPPED = "mapped"
    NOBODY = "nobody"


def for_postgres() -> Identity:
    """The smallest change of user with which Postgres and initdb run."""
    if os.geteuid() != 0 and _is_known(os.geteuid()):
        return Identity.SELF
    if can_map():
        return Identity.MAPPED
    return Identity.NOBODY if os.geteuid() == 0 else Identity.SELF


@functools.cache
def can_map() -> bool:
    """Whether this process may make a user namespace: tried, because no setting tells it reliably."""
    return sys.platform == "linux" and can_run([sys.executable, "-I", "-S", "-c", ""], Identity.MAPPED)


def can_run(command: list[str | Path], identity: Identity) -> bool:
    """Whether the command exits with 0 when it is launched under the identity."""
    launcher = Path(__file__).with_name("launch.py")
    arguments = [str(os.getpid()), str(int(signal.SIGKILL)), identity]
    done = subprocess.run(  # noqa: S603  # no shell; our own launcher
        [sys.executable, "-I", "-S", launcher, *arguments, *command],
        check=False,
        capture_output=True,
        cwd="/",
    )
    return done.returncode == 0


def _is_known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


__all__ = ["UNPRIVILEGED", "Identity", "can_map", "can_run", "for_postgres"]
