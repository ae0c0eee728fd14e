"""What the pages say about the code is there: rows, tests, files, links, names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import reference, settings_file

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
RACES = (ROOT / "docs" / "races.md").read_text()
ROWS = {int(number): rest for number, rest in re.findall(r"^\| (\d+) \|(.*)$", RACES, re.MULTILINE)}
CODE = ("stoker", "jobs", "worker", "tests", "bench", "examples")
OF_TODAY = [page for page in PAGES if page.parent.name != "decisions" and page.name != "CHANGELOG.md"]
"""The others tell what was: files that they name may be gone."""
SCREEN_LINES = 24


def sources(*endings: str) -> Iterator[Path]:
    for package in CODE:
        for path in (ROOT / package).rglob("*"):
            if path.suffix in endings:
                yield path


def test_rows_of_races_are_numbered_without_gaps() -> None:
    assert list(ROWS) == list(range(1, len(ROWS) + 1))


def test_pages_that_count_the_rows_of_races_are_right() -> None:
    rows = len(ROWS)
    assert f"has {rows} ways to be wrong" in (ROOT / "README.md").read_text()
    faq = " ".join((ROOT / "docs" / "faq.md").read_text().split())
    assert f"[races.md](races.md) has {rows - 1} more ways" in faq


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_races_names_tests_that_say_they_are_of_it(row: int) -> None:
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", ROWS[row])
    assert named
    for file, test in named:
        found = re.search(
            rf'^async def {test}\(.*?\n    """Rows? ([\d, and]+)',
            (ROOT / "tests" / "races" / file).read_text(),
            re.MULTILINE | re.DOTALL,
        )
        assert found is not None, f"tests/races/{file} has no {test}"
        assert str(row) in re.findall(r"\d+", found[1])


def test_every_row_that_the_code_names_is_there() -> None:
    missing = [
        f"{path.relative_to(ROOT)}: {number}"
        for path in sources(".py", ".lua", ".sql")
        for numbers in re.findall(r"\bRACES (\d+(?:(?:, | and )\d+)*)", path.read_text())
        for number in re.findall(r"\d+", numbers)
        if int(number) not in ROWS
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("page", OF_TODAY, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(CODE)}|docs)/[\w./-]+)`", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_files_of_the_librarys_rooms_that_the_architecture_names_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"(?<![\w/-])(\w+/[\w/]+\.(?:py|sql|lua))\b", text)
    assert len(named) > 10
    assert [
        path for path in named if not (ROOT / "stoker" / path).exists() and path.split("/")[0] not in CODE
    ] == []


def test_the_api_reference_is_up_to_date() -> None:
    assert reference.PAGE.read_text() == reference.page(), "make docs"


def test_the_settings_file_is_up_to_date() -> None:
    assert settings_file.FILE.read_text() == settings_file.page(), "make docs"


def test_every_public_name_has_a_docstring() -> None:
    assert reference.missing_docstrings() == []


def test_the_librarys_docstring_fits_a_screen() -> None:
    docstring = (ROOT / "stoker" / "__init__.py").read_text().partition('"""\n\n')[0]
    assert len(docstring.splitlines()) <= SCREEN_LINES
