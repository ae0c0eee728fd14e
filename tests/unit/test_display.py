"""What commands print: tables that fit, ids that are whole, and nothing that a terminal acts on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from stoker.cli import display
from stoker.telemetry.plain import escaped, escaped_lines

HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]x[/]\r\nforged\t\x9b31m\u202egnp\ud800"
ID = "f" * 32


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")


@given(st.text())
def test_escaped_text_is_one_line_that_only_prints(text: str) -> None:
    assert escaped(text).isprintable()
    assert escaped_lines(text).count("\n") == text.count("\n")


def test_plain_text_stays_as_it_is() -> None:
    assert escaped("Łódź [bold] 100 % · 東京") == "Łódź [bold] 100 % · 東京"


@pytest.mark.parametrize("on_terminal", [True, False])
def test_hostile_text_is_shown_as_text(
    *, on_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "_on_terminal", lambda: on_terminal)
    display.table(HOSTILE, ["name", "error"], [(HOSTILE, HOSTILE), (1, 2)])
    display.show(HOSTILE)
    display.note(HOSTILE)
    display.show_json({"error": HOSTILE})
    said = capsys.readouterr()
    tabs = 0 if on_terminal else 1
    for line in (said.out + said.err).splitlines():
        assert line.replace("\t", "", tabs).isprintable(), line
    assert "[bold red]x[/]" in said.out
    assert "\\x1b[2J" in said.err


def test_json_of_hostile_text_is_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    display.show_json({"error": HOSTILE})
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert json.loads(shown) == {"error": HOSTILE}


@pytest.mark.usefixtures("terminal")
def test_a_table_that_fits_has_a_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    display.table("dead", ["id", "job_id", "paused"], [(1234567, ID, True), (8, "東京", None)])
    assert capsys.readouterr().out.splitlines() == [
        "dead",
        f"id       job_id{' ' * 26}  paused",
        f"1234567  {ID}  yes",
        f"8        東京{' ' * 28}  -",
        "",
    ]


@pytest.mark.usefixtures("terminal")
def test_what_does_not_fit_goes_below_its_row_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    error = "ValueError: " + "no such thing, " * 8
    columns = ["job_id", "other", "error", "at", "scope"]
    display.table("ended", columns, [(ID, ID, error, "now", "note:" + ID), (ID, ID, None, "then", None)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == f"{ID}  {ID}  now"
    assert lines[3].startswith("    error ValueError: no such thing,")
    assert " ".join("".join(lines[3:-2]).split()).endswith(f"scope note:{ID}")
    assert lines[-2:] == [f"{ID}  {ID}  then", ""]
    assert max(map(len, lines)) <= 80


narrow = st.characters(exclude_categories=["C", "Z"])
wide = st.sampled_from("東京都")
cell = (st.text(narrow, min_size=1, max_size=60) | st.text(wide, min_size=1, max_size=60)).filter(
    lambda text: text != display.NOTHING
)


@given(st.lists(st.lists(cell, min_size=5, max_size=5), min_size=1, max_size=4), st.integers(70, 200))
def test_tables_fit_and_leave_nothing_out(rows: list[list[str]], width: int) -> None:
    columns = ["job_id", "kind", "scope", "state", "error"]
    lines = list(display.fitted(columns, rows, width))
    assert all(cell_len(line) <= width for line in lines)
    shown = "".join("".join(lines).split())
    for row in rows:
        assert all(one in shown for one in row)


def test_away_from_a_terminal_a_row_is_a_line_with_its_ids_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display.table("dead", ["id", "age_s"], [(1234567, 1234.5)])
    assert capsys.readouterr().out == "# dead\nid\tage_s\n1234567\t1234.50\n"


def test_a_table_without_rows_says_none_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    display.table("jobs", ["job_id", "kind"], [])
    assert capsys.readouterr().out == "# jobs\njob_id\tkind\n"
    monkeypatch.setattr(display, "_on_terminal", lambda: True)
    display.table("jobs", ["job_id", "kind"], [])
    assert capsys.readouterr().out == "jobs\nnone\n\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0.00"), (0.0343, "0.0343"), (0.5, "0.50"), (12.345, "12.35"), (-0.2, "-0.20")],
)
def test_a_short_time_is_not_shown_as_none(
    seconds: float, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    display.table("reads", ["p50_s"], [[seconds]])
    assert capsys.readouterr().out.splitlines()[-1] == shown


@pytest.mark.parametrize("drawn", [3, 39, 60])
def test_a_watched_picture_fits_the_terminal(
    drawn: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "_on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "40")

    def draw() -> None:
        for number in range(drawn):
            display.show(f"line {number}")

    display.redraw(draw)
    shown = capsys.readouterr().out
    assert shown.startswith(display.HOME_AND_CLEAR)
    lines = shown.removeprefix(display.HOME_AND_CLEAR).splitlines()
    assert len(lines) <= 39, "the last line of a terminal is the cursor's"
    assert lines[0] == "line 0"
    assert lines[-1] == ("... 22 lines more: stoker status" if drawn == 60 else f"line {drawn - 1}")


def test_no_command_waits_for_rich_that_shows_no_progress() -> None:
    code = "import sys, stoker.cli.status; print('rich.console' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own
    assert done.stdout == "False\n"
