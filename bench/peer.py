"""Processes beside the driver: peers under their own virtual environment, helpers under ours."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
LOCK = Path(__file__).with_name("peers.lock")
ENVIRONMENT = CHECKOUT / ".bench-venv"
PEERS_PYTHON = ENVIRONMENT / "bin" / "python"
OUR_PYTHON = Path(sys.executable)
LOG = CHECKOUT / "build" / "bench.log"
"""What peers and workers print; it would tear the table."""
ANSWER_BYTES = 64 * 1024 * 1024
STOP_S = 10.0


class PeerError(Exception):
    """A peer process answered with an error, or ended."""


class Peer:
    """A process that answers requests, one at a time."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def ask(self, do: str, **fields: object) -> Any:  # noqa: ANN401 - JSON
        """Send a request and wait for its answer; raises PeerError."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"do": do, **fields}).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            raise PeerError(f"{self._name} ended with {await process.wait()}: see {LOG}")
        reply = json.loads(line)
        if "error" in reply:
            raise PeerError(f"{self._name}: {do}: {reply['error']}")
        return reply["answer"]

    async def close(self) -> None:
        """Close its input, which ends it; kill it if that does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def running(
    module: str, *arguments: str, python: Path = PEERS_PYTHON, env: Mapping[str, str] | None = None
) -> AsyncIterator[Peer]:
    """Run `bench.peers.<module>` and talk to it."""
    if python == PEERS_PYTHON:
        await asyncio.to_thread(install)
    with LOG.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(python), "-m", f"bench.peers.{module}", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=ANSWER_BYTES,
            cwd=CHECKOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    peer = Peer(module, process)
    try:
        yield peer
    finally:
        await peer.close()


def install() -> None:
    """Make the peers' environment from their lock, unless it is there already."""
    stamp = ENVIRONMENT / ".installed"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    subprocess.run(  # noqa: S603 - our own environment and lock
        [
            *(PEERS_PYTHON, "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check"),
            *("--require-hashes", "-r", LOCK),
        ],
        check=True,
    )
    stamp.write_text(wanted)
