"""The bill of materials and the audit, the latter against a server that answers as OSV does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.supply.materials import LOCK, pinned

ROOT = Path(__file__).parents[2]
SHA256_HEX = 64


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_bill_names_everything_that_the_image_installs_with_its_hashes(tmp_path: Path) -> None:
    file = tmp_path / "build" / "sbom.json"
    assert run("tests.supply.materials", str(file)).returncode == 0
    written = json.loads(file.read_text())
    assert (written["bomFormat"], written["specVersion"]) == ("CycloneDX", "1.5")
    named = {(one["name"], one["version"]): one for one in written["components"]}
    assert len(named) == len(re.findall(r"^\S+==", LOCK.read_text(), re.MULTILINE))
    for one in written["components"]:
        assert one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}"
        assert one["hashes"], one["name"]
        assert all(len(each["content"]) == SHA256_HEX for each in one["hashes"])
    (redis,) = [one for one in written["components"] if one["name"] == "redis"]
    assert redis["licenses"][0]["license"]["name"] == "MIT"


class Osv(BaseHTTPRequestHandler):
    """Knows something against one package."""

    against = ""

    def do_POST(self) -> None:
        """Answer a batch in the order of its queries."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        results = [
            {"vulns": [{"id": "PYSEC-0000-1"}]} if one["package"]["name"] == self.against else {}
            for one in asked
        ]
        body = json.dumps({"results": results}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def osv() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Osv) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("against", "code"), [("", 0), ("redis", 1)])
def test_something_known_fails_the_audit_by_name(
    osv: str, against: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Osv, "against", against)
    done = run("tests.supply.known", OSV_URL=osv)
    assert done.returncode == code, done.stderr
    assert ("PYSEC-0000-1" in done.stdout) == bool(against)
    assert f"{len(pinned())} packages" in done.stdout


def test_without_the_data_the_audit_is_skipped_and_says_why() -> None:
    done = run("tests.supply.known", OSV_URL="http://127.0.0.1:1")
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "skipped")
    assert "127.0.0.1:1" in done.stdout
