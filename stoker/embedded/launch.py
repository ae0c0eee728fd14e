"""Turn this process into a server that cannot outlive the process which started it.

Run by path with `python -I -S`, so it imports nothing of Stoker:
`launch.py <parent pid> <death signal> <identity> <program> [argument ...]`.
The parent's death signal survives `exec`; a change of user clears it, so it is set last.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

UNPRIVILEGED = 65534  # nobody, on every Linux
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
CANNOT_LAUNCH = 126


def main(arguments: list[str]) -> None:
    """Change identity, tie this process to its parent, and become the program."""
    parent, death_signal, identity, *command = arguments
    os.umask(0o077)
    _undo_python_signals()
    if identity == "mapped":
        _enter_user_namespace()
    elif identity == "nobody":
        os.setgroups([])
        os.setgid(UNPRIVILEGED)
        os.setuid(UNPRIVILEGED)
    if sys.platform == "linux":
        _check(ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0))
    if os.getppid() != int(parent):
        sys.exit(CANNOT_LAUNCH)  # the parent died before the signal was set
    os.execv(command[0], command)  # noqa: S606  # no shell: this process becomes the program


def _undo_python_signals() -> None:
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _enter_user_namespace() -> None:
    """Become `nobody` inside, while the files keep their owner."""
    uid, gid = os.getuid(), os.getgid()
    _check(ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER))
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{UNPRIVILEGED} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{UNPRIVILEGED} {gid} 1", encoding="ascii")


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.stderr.write(f"cannot launch {sys.argv[4]}: {error}\n")
        sys.exit(CANNOT_LAUNCH)
