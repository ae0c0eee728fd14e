"""An evaluation is reproducible, keeps its budgets, and a method that knows the future is caught."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from array import array
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from stoker.cli import display, warming
from stoker.cli.app import app
from stoker.prediction.evaluation import SHARES, evaluate, needed
from stoker.prediction.methods import (
    DEFAULT_PLAN,
    ORACLE,
    PREDICTED,
    Method,
    active_in_a_day,
    careful_name,
    oracle,
    predicted,
)
from stoker.prediction.replay import Replay, Rules, looks_ahead, view_of
from stoker.prediction.synthetic import Office, made_up
from stoker.prediction.trace import Trace, TraceError, TraceWriter, read_trace, write_trace

RULES = Rules(ttl_s=3600, every_s=3600)
OFFICE = Office(people=14, topics=16, days=16)


@pytest.fixture(scope="module")
def office() -> Trace:
    return made_up(OFFICE, seed=7)


def test_a_method_that_knows_the_future_is_caught(office: Trace) -> None:
    assert looks_ahead(lambda trace: oracle(trace, RULES.ttl_s), office, RULES)
    assert not looks_ahead(lambda _: Method("predicted", predicted, threshold=True), office, RULES)
    assert not looks_ahead(lambda _: Method(DEFAULT_PLAN, active_in_a_day), office, RULES)


def test_the_predictor_avoids_more_misses_than_the_default_plan_at_the_same_budget(office: Trace) -> None:
    found = evaluate(office, RULES)
    for budget in found.budgets:
        by_name = {score.method: score for score in budget.scores}
        ours, default, best = by_name["predicted"], by_name[DEFAULT_PLAN], by_name["oracle"]
        assert ours.avoided > default.avoided
        assert best.avoided >= ours.avoided
        assert by_name["none"].avoided == by_name["none"].warmed == 0
        length_s = office.times[-1] - found.scored_from + RULES.every_s
        for score in budget.scores:
            assert score.spent_s <= budget.budget_s * length_s / 60 + RULES.build_s + 0.03
            assert score.low is not None
            assert score.share is not None
            assert score.high is not None
            assert score.low <= score.share <= score.high
            assert 0 <= score.wasted_s <= score.spent_s + 1e-6
            assert score.by_view.keys() <= {"dashboard", "detail"}


def test_what_readers_did_not_wait_for_is_told_beside_the_misses() -> None:
    writer = TraceWriter()
    for day in range(20):
        begin = 1_000_000_800 + day * 86400
        writer.add(begin + 60, "ann", "report:1/heavy", 2.0)
        writer.add(begin + 90, "ann", "report:2/light", 0.5)
    trace = writer.trace()
    [budget] = evaluate(trace, RULES, [120]).budgets
    best = next(one for one in budget.scores if one.method == "oracle")
    assert best.saved_s == pytest.approx(best.avoided / 2 * 2.5)
    assert best.saved_s == pytest.approx(best.spent_s)


def test_with_a_lowest_probability_less_is_spent_and_more_of_it_used(office: Trace) -> None:
    [budget] = evaluate(office, RULES, [0.2]).budgets
    by_name = {score.method: score for score in budget.scores}
    ours, careful = by_name[PREDICTED], by_name[careful_name(RULES.least)]
    assert careful.spent_s < 0.7 * ours.spent_s
    assert careful.used is not None
    assert ours.used is not None
    assert careful.used > 1.3 * ours.used


TRACES: dict[str, list[tuple[float, str, str]]] = {
    "one read": [(0, "ann", "a")],
    "one moment": [(0, "ann", "a"), (0, "ann", "a"), (0, "bob", "b")],
    "an hour": [(n * 10, f"p{n % 7}", f"e:{n % 23}/x") for n in range(360)],
    "one reader": [(n * 86400, "ann", "a") for n in range(12)],
    "nobody comes twice": [(n * 400, f"p{n}", f"e:{n}/x") for n in range(100)],
    "a year without reads": [(n * 9000 + (n > 50) * 4e7, "ann", f"e:{n % 5}/x") for n in range(100)],
}


@pytest.mark.parametrize("which", TRACES)
@pytest.mark.parametrize("begin", [0.0, 1_711_756_800.0, 253_400_000_000.0 - 5e7])
def test_a_trace_of_any_character_is_evaluated(which: str, begin: float) -> None:
    writer = TraceWriter()
    for at, reader, entry in TRACES[which]:
        writer.add(begin + at, reader, entry)
    trace = writer.trace()
    found = evaluate(trace, Rules(zone=ZoneInfo("Europe/Berlin")))
    assert found.misses <= found.scored_reads <= len(trace)
    for budget in found.budgets:
        for score in budget.scores:
            assert (score.share is None) == (found.misses == 0)
            assert (score.low is None) == (score.high is None)
            assert 0 <= (score.low or 0) <= (score.share or 0) <= 1
            assert score.high is None or (score.share or 0) <= score.high <= 1
            assert 0 <= score.avoided <= found.misses
            assert score.used is None or 0 <= score.used <= 1
            assert 0 <= score.wasted_s <= score.spent_s + 1e-9


def test_the_same_seed_gives_the_same_result(office: Trace) -> None:
    assert evaluate(office, RULES, [0.05]) == evaluate(office, RULES, [0.05])
    assert made_up(OFFICE, seed=7) == office != made_up(OFFICE, seed=8)


def test_what_is_read_while_it_is_valid_is_a_hit_and_used_once() -> None:
    writer = TraceWriter()
    for day in range(20):
        for minute in (0, 10, 50, 70):  # the last is more than an hour after the first
            writer.add(1_000_000_800 + day * 86400 + minute * 60, "ann", "a/page")
    trace = writer.trace()
    replay = Replay(trace, RULES)
    (tally,) = replay.run([Method("none", lambda _: {})], [0.0], lambda _: None).values()
    assert tally.misses == 2 * replay.scored_reads / 4
    (tally,) = Replay(trace, RULES).run([oracle(trace, 3600)], [1.0], lambda _: None).values()
    assert tally.misses < 2 * replay.scored_reads / 4
    assert tally.used == tally.warmed
    assert tally.wasted_s == 0


def test_what_changes_before_it_is_read_again_is_a_miss_and_was_warmed_in_vain() -> None:
    writer = TraceWriter()
    for day in range(20):
        begin = 1_000_000_800 + day * 86400
        for minute in (0, 20, 40):
            writer.add(begin + minute * 60, "ann", "topic:1/page?q=1")
            writer.add(begin + minute * 60, "ann", "topic:2/page")
        writer.change(begin + 30 * 60, "topic:1")
        writer.change(begin + 31 * 60, "topic:2/other")
    trace = writer.trace()
    replay = Replay(trace, RULES)
    none, warms = Method("none", lambda _: {}), Method("first", lambda _: {0: 1.0})
    tallies = replay.run([none, warms, oracle(trace, 3600)], [1.0], lambda _: None)
    days = len(tallies["none", 1.0].misses_by_day)
    assert tallies["none", 1.0].misses == 3 * days, "the first reads, and one after the change"
    assert tallies["oracle", 1.0].used == tallies["oracle", 1.0].warmed > 0
    first = tallies["first", 1.0]
    assert first.wasted_s == pytest.approx((first.warmed - first.used) * RULES.build_s)
    found = replay.predictor.activities.get(0)
    assert found is not None
    assert found.changed == trace.changes[-2][0]


def test_changes_survive_being_written_and_other_kinds_are_refused(tmp_path: Path, office: Trace) -> None:
    path = tmp_path / "trace.csv"
    write_trace(office, path)
    assert [name for _, name in read_trace(path).changes] == [name for _, name in office.changes] != []
    assert office.upto(office.times[50]).changes == [
        one for one in office.changes if one[0] < office.times[50]
    ]
    path.write_text("time,reader,entry,kind\n1,ann,a,write\n")
    with pytest.raises(TraceError, match="line 2: kind is 'write'; it is read or change"):
        read_trace(path)


def test_views_of_entries() -> None:
    assert [view_of(one) for one in ("topic:42/detail?page=2", "user:1/stats", "133")] == [
        "detail",
        "stats",
        "-",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("when,who\n1,2\n", "no column time, reader, entry in its first line 'when,who', which must be like"),
        ("time;reader;entry\n1;a;b\n", "in its first line 'time;reader;entry'"),
        ("time,reader,entry,entry\n1,ann,a,b\n", "column entry twice in its first line"),
        ("time,reader,entry\n", "there is no read in it"),
        ("time,reader,entry\nyesterday,ann,a\n", "line 2: 'yesterday' is no time"),
        ("time,reader,entry\nnan,ann,a\n", "line 2: 'nan' is no time between"),
        ("time,reader,entry\n-5,ann,a\n", "line 2: '-5' is no time between"),
        ("time,reader,entry\n1270047582000,ann,a\n", "line 2: .* in seconds; divide milliseconds by 1000"),
        ("time,reader,entry\n5\n", "line 2: it names no entry"),
        ("time,reader,entry\n5,ann,a?x=1,y=2\n", "line 2: it has more fields than .* must be quoted"),
        ('time,reader,entry\n5,ann,b\n5,ann,"a\n5,ann,c\n', "after line 2: .* is a quote left open"),
        ("time,reader,entry,build_ms\n5,ann,a,-1\n", "line 2: build_ms is negative"),
        ("time,reader,entry,build_ms\n5,ann,a,inf\n", "line 2: build_ms is 'inf', which is no number"),
    ],
)
def test_a_trace_that_cannot_be_read_says_why_and_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=f"trace.csv.*{says}"):
        read_trace(path)


CSV = b"time,reader,entry\n" + b"1,ann,a\n" * 9999
PACKED = gzip.compress(CSV, mtime=0)  # the same for each process of a run: it is part of tests' names


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PACKED[:-20], "after line [0-9]+: the gzip file is cut off"),
        (PACKED[:11], "csv: the gzip file is cut off"),
        (PACKED[:11] + b"\x00\xff\xff\xff" + PACKED[15:], "csv: the gzip file is damaged: "),
        (PACKED[:-8] + bytes(8), "after line [0-9]+: the gzip file is damaged: CRC"),
        (CSV.decode().encode("utf-16"), "csv: it is not UTF-8"),
        (CSV + b"1,J\xfcrgen,a\n", "after line [0-9]+: it is not UTF-8"),
    ],
    ids=["cut-off", "nothing-whole", "no-block", "checksum", "utf-16", "latin-1"],
)
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=says):
        read_trace(path)


def test_a_trace_with_a_byte_order_mark_or_packed_under_any_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    text = b'\xef\xbb\xbfentry,status,time,reader\r\n"a?x=1,y=2",200,5,ann\r\n\r\nb,200,6,bob,\r\n'
    for content in (text, gzip.compress(text)):
        path.write_bytes(content)
        found = read_trace(path)
        assert found.entry_names == ["a?x=1,y=2", "b"]
        assert found.reader_names == ["ann", "bob"]
        assert found.times.tolist() == [5, 6]


def test_a_trace_comes_from_a_pipe_and_a_wrong_one_ends_with_2() -> None:
    command = [sys.executable, "-m", "stoker", "trace", "show", "-"]
    ran = subprocess.run([*command, "--json"], input=PACKED, capture_output=True, check=True)  # noqa: S603
    assert json.loads(ran.stdout)["reads"] == 9999
    wrong = subprocess.run(command, input=CSV[:12], capture_output=True, check=False)  # noqa: S603
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(b"error: -: no column entry in its first line 'time,reader,")
    assert wrong.stderr.count(b"\n") == 1


def test_a_trace_survives_being_written(tmp_path: Path, office: Trace) -> None:
    for name in ("trace.csv", "trace.csv.gz"):
        write_trace(office, tmp_path / name)
        found = read_trace(tmp_path / name)
        assert found.times.tolist() == pytest.approx(office.times.tolist(), abs=0.001)
        assert [found.entry_names[one] for one in found.entries] == [
            office.entry_names[one] for one in office.entries
        ]


def test_times_may_be_iso_8601_and_out_of_order(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,reader,entry\n2024-01-01T01:00:00+01:00,ann,b\n2023-12-31T00:00:00,bob,a\n")
    found = read_trace(path)
    assert [found.entry_names[one] for one in found.entries] == ["a", "b"]
    assert found.times[1] - found.times[0] == 86400


def test_what_was_not_measured_is_unknown_and_said(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    for text, scored, says in (
        ("0,ann,a\n1,ann,a\n", 0, "nothing was measured"),
        (*("".join(f"{time},ann,a\n" for time in range(0, 5400, 5)), 360, "nothing can be gained"),),
    ):
        path.write_text(f"time,reader,entry\n{text}")
        command = ["warm", "evaluate", str(path), "--ttl", "9000"]
        found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
        assert (found["scored_reads"], found["misses"]) == (scored, 0)
        scores = [score for one in found["budgets"] for score in one["scores"]]
        assert {score["share"] for score in scores} == {score["low"] for score in scores} == {None}
        drawn = CliRunner().invoke(app, command).stdout
        assert says in drawn
        assert "0.000" not in drawn
    path.write_text(
        "time,reader,entry\n" + "".join(f"{time * 60},ann,e{time % 200}\n" for time in range(900))
    )
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert found["misses"] > 0
    assert {(one["low"], one["high"]) for one in found["budgets"][0]["scores"]} == {(None, None)}
    assert "two weeks or more" in CliRunner().invoke(app, command).stdout


def test_the_default_budgets_follow_what_building_takes_in_the_trace(office: Trace) -> None:
    slow = replace(office, build_s=array("f", [10 * one for one in office.build_s]))
    assert needed(slow, RULES) == pytest.approx(10 * needed(office, RULES))
    free = evaluate(replace(office, build_s=array("f", [0.0] * len(office))), RULES)
    assert [one.budget_s > 0 for one in free.budgets] == [True] * len(SHARES)
    assert {one.method: one for one in free.budgets[0].scores}[ORACLE].avoided > 0
    unknown = replace(office, build_s=array("f", [-1.0] * len(office)))
    assert needed(unknown, replace(RULES, build_s=0.2)) == pytest.approx(10 * needed(unknown, RULES))


def test_a_row_of_another_century_changes_the_default_budgets_little(office: Trace) -> None:
    late = replace(office, times=office.times + array("d", [9e10]))
    for column in ("readers", "entries", "build_s"):
        setattr(late, column, getattr(office, column) + getattr(office, column)[-1:])
    assert needed(late, RULES) == pytest.approx(needed(office, RULES), rel=0.2)


def test_tables_fit_into_80_columns(office: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    lines: list[str] = []
    monkeypatch.setattr(display, "show", lines.append)
    warming._draw(evaluate(office, RULES, [0.05]))
    rows = [line for line in lines if line.startswith(careful_name(RULES.least))]
    assert [len(row.split("  ")) > 4 for row in rows] == [True, True]
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if re.match(rf"{display.BEHIND}\\S", line)]


def test_the_command(tmp_path: Path, office: Trace) -> None:
    path = tmp_path / "trace.csv.gz"
    write_trace(office, path)
    ran = CliRunner().invoke(app, ["warm", "evaluate", str(path), "--every", "3600", "--json"])
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert len(found["budgets"]) == 3
    assert {score["method"] for score in found["budgets"][0]["scores"]} >= {
        "predicted",
        "oracle",
        DEFAULT_PLAN,
    }
    drawn = CliRunner().invoke(app, ["warm", "evaluate", str(path), "--by-reader", "--budget", "0.1"])
    assert "active in 24 h" in drawn.stdout
    late = CliRunner().invoke(app, ["warm", "evaluate", str(path), "--every", "7200"])
    assert late.exit_code == 2
    assert "expire between two plannings" in late.output
