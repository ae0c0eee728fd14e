"""The data folder: who owns it, where its sockets are, and the state file that others read.

One process owns a folder, by a lock that the kernel drops when the process ends. The state file says
which servers that process runs; it outlives a kill, so it counts only while its owner lives.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stoker.embedded.identity import UNPRIVILEGED
from stoker.embedded.process import STOP_DEADLINE_S, EmbeddedError, Identified, wait_until

SOCKET_PATH_BYTES = 107
LONGEST_SOCKET_NAME = "nobody/.s.PGSQL.5432.lock"
SURVIVES_REBOOT = Path("/var/tmp")  # noqa: S108  # entered only through a directory that root owns


@dataclass(frozen=True)
class Urls:
    """Where the servers are reached, as SQLAlchemy (asyncpg) and redis-py take them."""

    database: str
    queue: str
    cache: str


@dataclass(frozen=True)
class State:
    """What the owner of a folder publishes for other processes."""

    owner: Identified
    servers: Mapping[str, Identified] = field(default_factory=dict)
    urls: Urls | None = None  # none while the servers are still starting


class Places:
    """Every path that belongs to one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:10]
        self._name = f"stoker-{os.geteuid()}-{digest}"
        self.sockets = _socket_directory(self._name)

    @property
    def nobody(self) -> Path:
        """The folder that `nobody` must be able to reach; made by `for_nobody`."""
        return SURVIVES_REBOOT / self._name

    def log(self, name: str) -> Path:
        """The log of one server."""
        return self.folder / "logs" / f"{name}.log"

    def for_nobody(self) -> tuple[Path, Path]:
        """Home and socket directory of a Postgres that runs as `nobody`."""
        home, sockets = self.nobody / "data", self.sockets / "nobody"
        _private_directory(self.nobody)
        for path in (home, sockets):
            path.mkdir(exist_ok=True)
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
            path.chmod(0o700)
            path.parent.chmod(0o711)  # others may pass through it, not list it
        return home, sockets

    def remove_sockets(self) -> None:
        """Remove what is in the temporary directory."""
        shutil.rmtree(self.sockets, ignore_errors=True)


def _socket_directory(name: str) -> Path:
    """A short private directory, the same at each start unless somebody else has taken its name."""
    for root in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108  # only through _private_directory
        path = root.resolve() / name
        if len(os.fsencode(path / LONGEST_SOCKET_NAME)) > SOCKET_PATH_BYTES:
            continue
        try:
            _private_directory(path)
        except EmbeddedError:
            return Path(tempfile.mkdtemp(prefix="stoker-", dir=root))
        return path
    raise EmbeddedError(f"The temporary directory's path is too long for sockets ({SOCKET_PATH_BYTES} bytes)")


def _private_directory(path: Path) -> None:
    """Make it, or accept it if it is a directory of this user (and no link to one)."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise EmbeddedError(f"{path} belongs to somebody else")
    path.chmod(0o700)


def make_private(folder: Path) -> None:
    """Make the data folder, or make the existing one private.

    Only a folder of ours is changed: one that holds our lock, or nothing.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mine = folder.stat().st_uid == os.geteuid()
    if mine and (_lock(folder).exists() or not any(folder.iterdir())):
        folder.chmod(0o700)


class Ownership:
    """The lock of a folder, held until `release` or the end of this process."""

    def __init__(self, places: Places, descriptor: int) -> None:
        self._places = places
        self._descriptor = descriptor

    @classmethod
    def try_take(cls, places: Places) -> "Ownership | None":
        """The lock, or None when another process (or another part of this one) has it."""
        descriptor = os.open(_lock(places.folder), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(places, descriptor)

    def end_leftovers(self) -> None:
        """Wait for the servers of an owner that was killed; they got their signal after the lock was free."""
        state = read_state(self._places.folder)
        servers = list(state.servers.values()) if state else []
        if not wait_until(lambda: not any(server.is_alive() for server in servers), STOP_DEADLINE_S):
            for server in servers:
                if server.is_alive() and server.is_certain():
                    os.kill(server.pid, signal.SIGKILL)

    def publish(self, state: State) -> None:
        """Replace the state file in one step."""
        path = _state(self._places.folder)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
        draft.replace(path)

    def release(self) -> None:
        """Forget the state and let another process own the folder."""
        _state(self._places.folder).unlink(missing_ok=True)
        os.close(self._descriptor)


def read_state(folder: Path) -> State | None:
    """What the last owner published, dead or alive; none when there is nothing readable."""
    try:
        read = json.loads(_state(folder).read_text(encoding="utf-8"))
        return State(
            owner=Identified(*read["owner"]),
            servers={name: Identified(*server) for name, server in read["servers"].items()},
            urls=Urls(**read["urls"]) if read["urls"] else None,
        )
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _lock(folder: Path) -> Path:
    return folder / "owner.lock"


def _state(folder: Path) -> Path:
    return folder / "state.json"
