"""A Valkey Cluster for development and tests: three primaries, and a replica of each, on loopback.

The nodes read who they are from files that are written before they start, so a cluster stands within a second
instead of after rounds of gossip. They need TCP and ask for a password that is drawn here; they keep nothing
on disk. Each is a `Server`, so a test can kill, pause and restart it. They die with the process that started
them.
"""

import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from stoker.embedded.listening import Listening, free_ports
from stoker.embedded.process import EmbeddedError, wait_until

SLOTS = 16_384
PRIMARIES = 3
NAMES = [f"cache-{number}" for number in range(1, 2 * PRIMARIES + 1)]
FORM_DEADLINE_S = 30.0
NODE_TIMEOUT_MS = 1000
"""cluster-node-timeout: short, so that a failover takes two or three seconds in a test."""
OPTIONS = (
    *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
    *("--appendonly", "no", "--save", "", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lfu"),
    # A replica may always stand for election, and stays with its primary.
    *("--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no"),
)


class Node(Listening):
    """One node: its id in the cluster, its port, and the primary that it begins as a replica of."""

    def __init__(
        self, name: str, folder: Path, log: Path, ports: tuple[int, int], password: str, more: Sequence[str]
    ) -> None:
        port, self.bus_port = ports
        self.id = secrets.token_hex(20)
        self.epoch = 0
        self.primary: Node | None = None
        options = [*OPTIONS, "--cluster-port", str(self.bus_port), *more]
        super().__init__(name, folder, port, options, password=password, log=log)

    def write_nodes(self, lines: Callable[["Node"], str]) -> None:
        """Write what it knows of the cluster before its first start."""
        self._data.mkdir(parents=True, exist_ok=True)
        (self._data / "nodes.conf").write_text(lines(self))

    def is_in_order(self, nodes: int) -> bool:
        """Whether it says that every slot is served, and knows all nodes; a replica, that it is in step."""
        try:
            said = self.ask("CLUSTER INFO", "INFO replication")
        except OSError:
            return False
        in_step = "role:master" in said or "master_link_status:up" in said
        return "cluster_state:ok" in said and f"cluster_known_nodes:{nodes}\r\n" in said and in_step


class Cluster:
    """Six nodes. The first three begin as primaries of a third of the slots each."""

    def __init__(
        self,
        folder: Path,
        *,
        logs: Callable[[str], Path] | None = None,
        options: Sequence[str] = (),
        timeout_ms: int = NODE_TIMEOUT_MS,
    ) -> None:
        """`folder`: of data and sockets; its path must be short. `options`: more of each server's."""
        self.password = secrets.token_urlsafe(16)
        more = ["--cluster-node-timeout", str(timeout_ms), *options]
        ports = free_ports(4 * PRIMARIES)
        self.nodes = [
            Node(name, folder, logs(name) if logs else folder / f"{name}.log", two, self.password, more)
            for name, two in zip(NAMES, zip(ports[::2], ports[1::2], strict=True), strict=True)
        ]
        for number, primary in enumerate(self.primaries, 1):
            primary.epoch = number  # each primary has another one, and its replica the same
            replica = self.nodes[PRIMARIES + number - 1]
            replica.primary, replica.epoch = primary, number

    @property
    def url(self) -> str:
        """Of the whole cluster, with three of its nodes."""
        addresses = ",".join(node.address for node in self.nodes[:PRIMARIES])
        return f"redis://:{self.password}@{addresses}/?cluster=true"

    @property
    def primaries(self) -> Sequence[Node]:
        """The nodes that began as primaries."""
        return self.nodes[:PRIMARIES]

    def replica_of(self, node: Node) -> Node:
        """The node that began as the replica of a primary."""
        return next(one for one in self.nodes if one.primary is node)

    def start(self) -> None:
        """Start all nodes, and return when every slot is served and every replica in step."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the processes without waiting for them."""
        for node in self.nodes:
            node.write_nodes(self._nodes_as_seen_by)
            node.launch()

    def wait_ready(self) -> None:
        """Wait until the cluster is in order; raises EmbeddedError."""
        for node in self.nodes:
            node.wait_ready()
        count = len(self.nodes)
        if not wait_until(lambda: all(node.is_in_order(count) for node in self.nodes), FORM_DEADLINE_S):
            said = self.nodes[0].ask("CLUSTER INFO", "CLUSTER NODES")
            raise EmbeddedError(
                f"The nodes made no cluster in {FORM_DEADLINE_S:.0f} s; the first says:\n{said}"
            )

    def stop(self) -> None:
        """End every node."""
        with ExitStack() as last:
            for node in self.nodes:
                last.callback(node.kill)  # they keep nothing, so there is nothing to end in order

    def _nodes_as_seen_by(self, reader: Node) -> str:
        lines = [_line(node, reader, self._slots(node)) for node in self.nodes]
        return "\n".join([*lines, f"vars currentEpoch {len(self.nodes)} lastVoteEpoch 0", ""])

    def _slots(self, node: Node) -> str:
        if node.primary is not None:
            return ""
        number = self.nodes.index(node)
        return f" {SLOTS * number // PRIMARIES}-{SLOTS * (number + 1) // PRIMARIES - 1}"


def _line(node: Node, reader: Node, slots: str) -> str:
    role = "master" if node.primary is None else "slave"
    flags = f"myself,{role}" if node is reader else role
    of = node.primary.id if node.primary is not None else "-"
    return f"{node.id} {node.address}@{node.bus_port} {flags} {of} 0 0 {node.epoch} connected{slots}"
