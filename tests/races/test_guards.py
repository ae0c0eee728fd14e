"""Every guard in tests/races/guards is removed by at least one race."""

from __future__ import annotations

import re
from pathlib import Path

from tests.races.guards import GUARDS

LAST_ROW = 49
RACES = sorted(Path(__file__).parent.glob("test_*.py"))


def test_no_guard_is_never_taken_away() -> None:
    named = set().union(*(re.findall(r'"([^"\n]+)"', race.read_text(encoding="utf-8")) for race in RACES))
    assert GUARDS.keys() <= named


def test_no_row_is_without_a_race_that_fails_when_its_guard_is_gone() -> None:
    rows: set[int] = set()
    for race in RACES:
        for scenario in race.read_text(encoding="utf-8").split("\n\n\n"):
            if re.search(r'@race\(\s*"', scenario) and (
                named := re.search(r'"""Rows? ([\d, and]+)', scenario)
            ):
                rows.update(int(row) for row in re.findall(r"\d+", named[1]))
    assert set(range(1, LAST_ROW + 1)) - rows == set()


def test_no_race_hides_its_row() -> None:
    for race in RACES:
        text = race.read_text(encoding="utf-8")
        for docstring in re.findall(
            r"@race\([^@]*?\)\nasync def test_\w+\([^)]*\) -> None:\n    \"\"\"(.*)", text
        ):
            assert re.match(r"Rows? \d+|A server that|Postgres away", docstring), docstring
