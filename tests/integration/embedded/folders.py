"""Data folders in tests: another process that owns one, and what the Postgres in it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from urllib.parse import urlsplit

import psycopg
from sqlalchemy import make_url

from stoker import embedded
from stoker.embedded.identity import Identity
from stoker.embedded.process import LAUNCHER, Identified, wait_until

DEADLINE_S = 90.0

OWNER = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from stoker import embedded
running = embedded.start(Path(sys.argv[1]), durable=False)
pids = [running.queue.pid, running.cache.pid, running.postgres.pid]
print(json.dumps({"urls": asdict(running.urls), "pids": pids, "uid": os.geteuid()}), flush=True)
sys.stdin.read()
running.stop()
"""


class Owner:
    """Another process that has started the servers of a folder."""

    def __init__(self, folder: Path, *launcher: str | Path) -> None:
        command = [*launcher, sys.executable, "-c", OWNER, folder]
        self.process = subprocess.Popen(  # noqa: S603  # our own script
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout
        told = json.loads(self.process.stdout.readline())
        self.pid = self.process.pid
        self.uid: int = told["uid"]
        self.urls = embedded.Urls(**told["urls"])
        self.servers = [Identified.of(pid) for pid in told["pids"]]
        self.servers += [Identified.of(pid) for server in told["pids"] for pid in _children(server)]

    def leaves_nothing(self) -> bool:
        return wait_until(lambda: not any(server.is_alive() for server in self.servers), DEADLINE_S)


@contextmanager
def owner_of(folder: Path, *launcher: str | Path) -> Iterator[Owner]:
    owner = Owner(folder, *launcher)
    with owner.process:
        try:
            yield owner
        finally:
            owner.process.kill()
            owner.process.wait()
            rmtree(Path(urlsplit(owner.urls.queue).path).parent, ignore_errors=True)


def launcher_as(user: Identity) -> tuple[str | Path, ...]:
    return sys.executable, LAUNCHER, str(os.getpid()), str(int(signal.SIGKILL)), user


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def sql(urls: embedded.Urls, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(libpq(urls), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def libpq(urls: embedded.Urls) -> str:
    return make_url(urls.database).set(drivername="postgresql").render_as_string(hide_password=False)
