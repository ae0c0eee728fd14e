"""Start the three servers of a data folder, or join the process that already runs them.

Sync, and usable before any event loop. Starting again after a crash of anything, at any point, needs
no cleaning by hand.
"""

import atexit
import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from stoker.embedded import valkey
from stoker.embedded.cluster import Cluster
from stoker.embedded.folder import Ownership, Places, State, Urls, make_private, read_state
from stoker.embedded.postgres import Postgres
from stoker.embedded.process import EmbeddedError, Identified, Server, wait_until
from stoker.settings.topology import is_cluster

JOIN_DEADLINE_S = 90.0  # as long as a first start may take


class Embedded:
    """The servers of one folder: this process's own (`owned`), or another process's that it only uses."""

    def __init__(self, urls: Urls, owner_pid: int, run: "_Run | None" = None) -> None:
        self.urls = urls
        self.owner_pid = owner_pid
        self._run = run
        if run is not None:
            atexit.register(self._stop_at_exit)

    @property
    def owned(self) -> bool:
        """Whether this process runs the servers and may stop or restart them."""
        return self._run is not None

    @property
    def queue(self) -> Server:
        """The Valkey that must lose nothing."""
        return self._control().queue

    @property
    def cache(self) -> Server:
        """The Valkey that may evict anything; raises EmbeddedError where a cluster is in its place."""
        found = self._control().cache
        if isinstance(found, Cluster):
            raise EmbeddedError("The cache is a cluster: ask `cluster` for its nodes")
        return found

    @property
    def cluster(self) -> Cluster:
        """The nodes of the cache, if they were asked for."""
        found = self._control().cache
        if not isinstance(found, Cluster):
            raise EmbeddedError("The cache is a single server: start with cluster=True")
        return found

    @property
    def postgres(self) -> Server:
        """The database server."""
        return self._control().postgres

    def ended(self) -> list[Server]:
        """Servers that have ended though nobody here stopped them; `launch` starts one again."""
        return [server for server in self._control().servers if server.end]

    def stop(self) -> None:
        """Stop what this process owns; again, or after joining, it does nothing."""
        run, self._run = self._run, None
        if run is not None:
            atexit.unregister(self._stop_at_exit)
            run.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _control(self) -> "_Run":
        if self._run is None:
            raise EmbeddedError(f"The servers are stopped, or process {self.owner_pid} owns them: ask there")
        return self._run

    def _stop_at_exit(self) -> None:
        if self.owner_pid == os.getpid():  # a fork of the owner stops nothing
            self.stop()


def start(folder: Path, *, durable: bool = True, cluster: bool = False) -> Embedded:
    """Run the servers of the folder, or join the living process that does.

    With `cluster` the cache is a cluster of three primaries and three replicas, on ports of loopback.

    With `durable=False` nothing is flushed to disk: killed servers lose nothing, a crash of the machine may.
    Raises `EmbeddedError` when a program is missing, a server does not come up, or the folder is
    held by a process that runs no servers.
    """
    try:
        make_private(folder)
        (folder / "logs").mkdir(exist_ok=True, mode=0o700)
        places = Places(folder)
        taken = _take_or_join(places)
        if isinstance(taken, Embedded):
            if cluster and not is_cluster(taken.urls.cache):
                raise EmbeddedError(
                    f"Process {taken.owner_pid} runs the servers of {folder} without a cluster: stop it first"
                )
            return taken
        run = _Run(places, taken)
        try:
            run.start(durable=durable, cluster=cluster)
        except BaseException:  # Ctrl-C too: nothing that was started may be left behind
            run.stop()
            raise
        return Embedded(run.urls, os.getpid(), run)
    except OSError as error:
        raise EmbeddedError(f"The data folder {folder} cannot be used: {error}") from error


def find(folder: Path) -> Urls | None:
    """The URLs of the servers that a living process runs in the folder, if there is one."""
    state = read_state(folder)
    return state.urls if state and state.owner.is_alive() else None


def _take_or_join(places: Places) -> Embedded | Ownership:
    """The lock; or, where a living process has it, that process's servers once they are ready."""
    found: list[Embedded | Ownership] = []

    def taken_or_joined() -> bool:
        lock = Ownership.try_take(places)
        state = None if lock else read_state(places.folder)
        if lock:
            found.append(lock)
        elif state and state.urls and state.owner.is_alive():
            found.append(Embedded(state.urls, state.owner.pid))
        return bool(found)

    if not wait_until(taken_or_joined, JOIN_DEADLINE_S):
        state = read_state(places.folder)
        owner = f"process {state.owner.pid}" if state else "another process"
        raise EmbeddedError(
            f"{owner} holds the data folder {places.folder} but offered no servers in {JOIN_DEADLINE_S:.0f} s"
        )
    return found[0]


class _Run:
    """The servers as their owner sees them; the state file follows each change."""

    def __init__(self, places: Places, lock: Ownership) -> None:
        self._places = places
        self._lock = lock
        self._me = Identified.of(os.getpid())
        self._ready: Urls | None = None
        self.servers: list[Server] = []

    def start(self, *, durable: bool, cluster: bool) -> None:
        """Launch all, then wait for each."""
        self._lock.end_leftovers()
        self._publish()
        places = self._places
        self.queue = valkey.queue(
            places.folder / "queue", places.sockets, places.log("queue"), durable=durable
        )
        self._launch(self.queue)
        if cluster:
            self.cache: Cluster | valkey.Valkey = Cluster(places.sockets, logs=places.log)
            self.servers += self.cache.nodes
            self.cache.launch()
        else:
            self.cache = valkey.cache(places.folder / "cache", places.sockets, places.log("cache"))
            self._launch(self.cache)
        self.postgres = Postgres(places, durable=durable)
        self._launch(self.postgres)
        for server in self.servers:
            server.wait_ready()
        if isinstance(self.cache, Cluster):
            self.cache.wait_ready()
        self._ready = self.urls
        self._publish()

    @property
    def urls(self) -> Urls:
        """Fixed for the life of the folder's owner."""
        return Urls(database=self.postgres.url, queue=self.queue.url, cache=self.cache.url)

    def stop(self) -> None:
        """Stop every server even if one of them fails to, then give the folder up."""
        with contextlib.ExitStack() as last:
            last.callback(self._lock.release)
            last.callback(self._places.remove_sockets)
            for server in self.servers:
                last.callback(server.stop)

    def _launch(self, server: Server) -> None:
        server.on_change = self._publish
        self.servers.append(server)
        server.launch()

    def _publish(self) -> None:
        servers = {server.name: Identified.of(server.pid) for server in self.servers if server.running}
        self._lock.publish(State(self._me, servers, self._ready))
