"""Every guard that can be taken away is taken away by some race: none is there for show."""

from __future__ import annotations

import re
from pathlib import Path

from tests.races.guards import GUARDS

RACES = sorted(Path(__file__).parent.glob("test_*.py"))


def test_no_guard_is_never_taken_away() -> None:
    named = set().union(*(re.findall(r'"([^"\n]+)"', race.read_text(encoding="utf-8")) for race in RACES))
    assert GUARDS.keys() <= named


def test_every_race_names_its_row_or_says_what_it_is_about() -> None:
    for race in RACES:
        if race.name in {"test_guards.py", "test_coalescing.py"}:
            continue
        tests = re.findall(
            r"async def test_\w+\([^)]*\) -> None:\n    \"\"\"(.*)", race.read_text(encoding="utf-8")
        )
        assert tests
        for docstring in tests:
            assert re.match(r"Rows? \d+|A server that|Postgres away", docstring), docstring
