"""`stoker migrate` and `stoker captures` of a domain with captures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stoker import Capture
from tests.captures.conftest import Db
from tests.captures.test_applying import DOMAIN
from tests.integration.cli import Done, call
from tests.library import ShelfRenamed
from tests.support.place import Place

library = DOMAIN
wider = replace(DOMAIN, captures=(Capture("shelves", ShelfRenamed, {"shelf": "id"}),))


def _run(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], domain: str, *words: str) -> Done:
    environment = {**place.environment(), "STOKER__DOMAIN": f"tests.captures.test_command:{domain}"}
    return call(tmp_path, environment, *words, capture=capsys)


def test_migrate_makes_the_triggers_and_captures_shows_what_differs(
    place: Place, db: Db, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(domain: str, *words: str) -> Done:
        return _run(place, tmp_path, capsys, domain, *words)

    assert "made the triggers of public.shelves (shelf.renamed)" in run("library", "migrate").stdout
    assert run("library", "migrate").stdout == "nothing to apply\n"
    assert db.run("SELECT DISTINCT recorded_by FROM stoker.cache_events") == [("migrate",)]
    assert run("library", "captures", "diff", "--check").stdout == "the captures are as declared\n"

    assert "capture of" not in run("library", "check").stdout
    assert (
        "error: capture of public.shelves (shelf.renamed): made from another" in run("wider", "check").stdout
    )

    changed = run("wider", "captures", "diff", "--check", "--json")
    assert changed.returncode == 1
    assert [(one["table"], one["state"]) for one in json.loads(changed.stdout)] == [
        ("public.shelves", "changed"),
        ("public.books", "left"),
    ]
    assert run("wider", "captures", "diff").returncode == 0
    assert "dropped the capture of public.books (book.added)" in run("wider", "migrate").stdout
    assert "same" in run("wider", "captures", "list").stdout

    assert run("wider", "captures", "drop", "public.shelves").returncode == 1  # no terminal, no --yes
    assert "dropped the capture of public.shelves" in run("wider", "captures", "drop", "--yes").stdout
    assert db.run("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'stoker%'") == [(0,)]
