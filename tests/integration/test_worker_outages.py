"""The worker as a real process, while its servers are restarted under it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from stoker import embedded
from tests.integration.cli import LONGEST_S, call, running
from tests.integration.test_cli_operate import WORKER_READY
from tests.integration.test_cli_operate import environment as environment  # noqa: PLC0414 - a fixture


@pytest.mark.parametrize("name", ["queue", "cache", "postgres"])
def test_it_goes_on_applying_changes_after_a_server_was_killed_and_restarted(
    servers: embedded.Embedded,
    environment: dict[str, str],
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running(tmp_path, environment, "run", ready=WORKER_READY) as worker:
        server: embedded.Server = getattr(servers, name)
        server.kill()
        server.start()
        done = call(tmp_path, environment, "invalidate", "project", "1", "--wait", "120", capture=capsys)
        assert (done.returncode, done.stdout) == (0, "project:1 is invalidated\n")
        assert worker.poll() is None
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=LONGEST_S)
    assert worker.returncode == 0
