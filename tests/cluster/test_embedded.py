"""The embedded cluster: it stands within seconds, and is gone with the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker import embedded
from stoker.embedded import EmbeddedError
from stoker.embedded.process import wait_until

HOLDS = """
import sys, time
from pathlib import Path
from stoker.embedded.cluster import Cluster
cluster = Cluster(Path(sys.argv[1]))
cluster.start()
print(*(node.pid for node in cluster.nodes), flush=True)
time.sleep(3600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path."""
    with tempfile.TemporaryDirectory(prefix="cl", dir="/tmp", ignore_cleanup_errors=True) as made:
        yield Path(made)


def test_its_nodes_are_gone_with_a_process_that_is_killed(folder: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert holder.stdout is not None
    pids = [int(pid) for pid in holder.stdout.readline().split()]
    assert len(pids) == 6
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    def gone() -> bool:
        return not any(_runs(pid) for pid in pids)

    assert wait_until(gone, 20)
    holder.stdout.close()


def test_a_folder_may_hold_a_cluster_as_its_cache(folder: Path) -> None:
    with embedded.start(folder / "data", durable=False, cluster=True) as running:
        assert running.urls.cache == running.cluster.url
        assert "cluster_state:ok" in running.cluster.nodes[0].ask("CLUSTER INFO")
        assert "NOAUTH" in running.cluster.nodes[0]._ask(b"PING\r\nQUIT\r\n").decode()
        with pytest.raises(EmbeddedError, match="a cluster: ask `cluster`"):
            _ = running.cache
        pids = [node.pid for node in running.cluster.nodes]
        assert embedded.find(folder / "data") == running.urls
    assert not any(_runs(pid) for pid in pids)


def test_servers_that_run_already_do_not_become_a_cluster(folder: Path) -> None:
    hold = "import sys; from pathlib import Path; from stoker import embedded;"
    command = [
        sys.executable,
        "-c",
        f"{hold} embedded.start(Path(sys.argv[1])); print('up', flush=True); sys.stdin.read()",
        str(folder / "d"),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:  # noqa: S603
        assert holder.stdout is not None
        assert holder.stdout.readline() == "up\n"
        with pytest.raises(EmbeddedError, match="without a cluster: stop it first"):
            embedded.start(folder / "d", cluster=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return " Z " not in Path(f"/proc/{pid}/stat").read_text()
