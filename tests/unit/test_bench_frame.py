"""The benchmark's frame: what it makes of figures, without any clock or server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import report
from bench.blocks import Scale, alternate
from bench.figures import Figure, Summary, Wanted, percentile, quartiles
from bench.rows import ROWS

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def summary(ours: list[float], theirs: list[float], wanted: str) -> Summary:
    return Figure("row", "them", "reads/s", wanted, ours, theirs).summary()


def test_the_ratio_is_that_of_the_medians_that_are_shown() -> None:
    found = summary([90, 100, 400], [200, 200, 200], ">= 0.5")
    assert (found.ours, found.theirs, found.ratio) == (100, 200, 0.5)
    assert found.holds is True


def test_quartiles_are_those_of_the_ratio_pair_by_pair() -> None:
    # Both sides were slow in the same blocks: the pairs agree although the figures do not.
    found = summary([10, 20, 30, 40, 50], [20, 40, 60, 80, 100], "")
    assert found.quartiles == (0.5, 0.5, 0.5)
    assert quartiles([1, 2, 3, 4, 5]) == (2, 3, 4)
    assert quartiles([7]) == (7, 7, 7)


@pytest.mark.parametrize(
    ("wanted", "ours", "theirs", "holds"),
    [
        (">= 0.8", 80, 100, True),
        (">= 0.8", 79.9, 100, False),
        ("<= 1.25", 125, 100, True),
        ("<= 1.25", 126, 100, False),
        ("== 1", 3, 3, True),
        ("ours == 1", 1, 50, True),
        ("ours == 1", 2, 2, False),
        ("ours <= 300", 301, 300, False),
        ("", 1, 100, None),
    ],
)
def test_what_is_wanted_is_read_from_its_text(
    wanted: str,
    ours: float,
    theirs: float,
    holds: bool | None,  # noqa: FBT001 - a table of cases
) -> None:
    assert summary([ours], [theirs], wanted).holds is holds


@pytest.mark.parametrize("text", [">=0.8", "> 0.8", "at least 1", "0.8", ">= fast"])
def test_a_bound_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="wanted"):
        Wanted.parse(text)


def test_sides_with_different_numbers_of_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="2 blocks of ours, 1 of theirs"):
        summary([1, 2], [1], "")


def test_nothing_against_nothing_is_equal() -> None:
    assert summary([0], [0], "").ratio == 1
    assert summary([1], [0], "").ratio == float("inf")


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([5.0], 0.99) == 5


async def test_blocks_alternate_and_the_first_round_is_not_counted() -> None:
    ran: list[str] = []

    async def ours() -> float:
        ran.append("A")
        return len(ran)

    async def theirs() -> float:
        ran.append("B")
        return len(ran)

    figures = await alternate(2, ours, theirs)
    assert ran == ["A", "B", "B", "A", "A", "B"]
    assert figures == [[4, 5], [3, 6]]


def test_a_shrunken_block_still_does_something() -> None:
    assert Scale(share=0.001).count(100) == 1
    assert Scale(share=0.5).count(100, least=80) == 80


def test_the_file_has_the_fields_that_are_promised(tmp_path: Path) -> None:
    report.write(tmp_path / "build" / "bench.json", [summary([1], [2], "<= 1")])
    (row,) = json.loads((tmp_path / "build" / "bench.json").read_text())
    promised = {"row", "ours", "against", "theirs", "unit", "ratio", "quartiles", "wanted", "holds"}
    assert promised <= row.keys()
    assert (row["ratio"], row["holds"]) == (0.5, True)


def test_the_guide_names_every_row_and_no_other() -> None:
    described = re.findall(
        r"^\| (?:row|figure) \| what .*\n\|[- |]+\n((?:\|.*\n)+)", GUIDE.read_text(), re.MULTILINE
    )
    named = {
        name
        for table in described
        for line in table.splitlines()
        for name in line.split("|")[1].strip().split(", ")
    }
    assert named == {name for row in ROWS for name in row.ids}
