"""What the overview says, from figures alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from stoker.operations.figures import VerifiedFigures
from stoker.operations.health import Health, ServerHealth
from stoker.operations.judgement import judged
from stoker.operations.picture import Answered, LaneNow, Overview, Verdict, ViewNow, WorkerSeen
from stoker.outbox.rows import Backlog

ALIVE = WorkerSeen(name="w1", silent_s=1, gone=False)
SILENT = WorkerSeen(name="w2", silent_s=20, gone=True)


def picture(*, checked: int = 0, hit_rate: float | None = None, **changes: object) -> Overview:
    verified = VerifiedFigures(
        checked=checked,
        stale=0,
        changed=0,
        undecided=0,
        stale_age_s=0,
        share=1.0 if checked else None,
        nines=None,
        last_at=None,
    )
    plain: dict[str, Any] = {
        "at": datetime.now(UTC),
        "verdict": Verdict.UNTRIED,
        "says": "",
        "concerns": [],
        "health": Health(ok=True, servers={}),
        "changes": Backlog(unsettled=0, failing=0, oldest_age_s=0, applied_last_minute=0, term_ms=0),
        "verified": verified,
        "hit_rate": hit_rate,
        "views": {},
        "lanes": {},
        "workers": [ALIVE],
        "last": {},
    }
    return judged(Overview(**{**plain, **changes}))


def view(*, reads_ever: int) -> ViewNow:
    return ViewNow(
        reads=0, hits=0, hit_rate=None, misses={}, stale=0, loads=0, build_ms=None, reads_ever=reads_ever
    )


@pytest.mark.parametrize(
    ("checked", "hit_rate", "verdict", "says"),
    [
        (0, None, Verdict.UNTRIED, "Nothing was read or compared with SQL yet. The worker keeps up."),
        (9, None, Verdict.UNTRIED, "The cache is right; nothing was read yet. The worker keeps up."),
        (
            0,
            0.99,
            Verdict.UNTRIED,
            "Every change is applied, nothing was compared with SQL yet; the worker keeps up.",
        ),
        (9, 0.2, Verdict.WELL, "The cache is right, 20 % of reads are hits, and the worker keeps up."),
        (
            9,
            0.9996,
            Verdict.WELL,
            "The cache is right, over 99.9 % of reads are hits, and the worker keeps up.",
        ),
    ],
)
def test_nothing_is_called_right_or_warm_that_was_not_compared_or_read(
    checked: int, hit_rate: float | None, verdict: Verdict, says: str
) -> None:
    shown = picture(checked=checked, hit_rate=hit_rate)
    assert (shown.verdict, shown.says, shown.concerns) == (verdict, says, [])


def test_what_was_read_before_the_last_hour_is_not_called_never_read() -> None:
    shown = picture(checked=9, views={"detail": view(reads_ever=5)})
    assert "nothing was read in the last hour" in shown.says


def test_what_is_wrong_comes_before_what_is_well_and_is_the_headline() -> None:
    down = Health(ok=False, servers={"cache": ServerHealth(ok=False, ms=800, error="no answer in time")})
    shown = picture(checked=9, hit_rate=0.99, health=down)
    says = "The cache Redis does not answer; without it, reads go to SQL, and changes wait to be applied"
    assert (shown.verdict, shown.says) == (Verdict.WRONG, says)
    assert [one.says.lower() for one in shown.concerns] == [says.lower()]


def answered(**changes: object) -> Answered:
    plain: dict[str, Any] = dict.fromkeys(Answered.model_fields, 0)
    return Answered(**{**plain, "reads": 200, "p50_s": 0.001, "p99_s": 0.2, "slow_from_s": 1, **changes})


@pytest.mark.parametrize(
    ("changes", "verdict", "says"),
    [
        ({"errors": 30}, Verdict.WRONG, "15 % of 200 reads of page failed in the last 5 minutes"),
        ({"errors": 1}, Verdict.WATCH, "0.5 % of 200 reads of page failed in the last 5 minutes"),
        ({"load_errors": 1}, Verdict.WATCH, "1 build of page failed in the last 5 minutes; no read did"),
        (
            {"stale": 200},
            Verdict.WRONG,
            "100 % of 200 reads of page got an outdated value in the last 5 minutes: its loader fails",
        ),
        (
            {"bypass": 60},
            Verdict.WATCH,
            "30 % of 200 reads of page went to SQL past the cache in the last 5 minutes",
        ),
        (
            {"bypass": 200},
            Verdict.WRONG,
            "100 % of 200 reads of page went to SQL past the cache in the last 5 minutes",
        ),
        (
            {"p99_s": 2.34},
            Verdict.WATCH,
            "Reads of page are slow: p99 2.3 s in the last 5 minutes, the limit is 1 s",
        ),
    ],
)
def test_what_readers_get_is_the_headline(changes: dict[str, Any], verdict: Verdict, says: str) -> None:
    shown = picture(checked=9, hit_rate=0.99, answered={"page": answered(**changes)})
    assert (shown.verdict, shown.says) == (verdict, says)


def test_failing_reads_come_before_the_server_that_explains_them() -> None:
    down = Health(ok=False, servers={"database": ServerHealth(ok=False, ms=800, error="no answer in time")})
    shown = picture(health=down, answered={"a": answered(bypass=9), "b": answered(errors=90)})
    assert shown.says.startswith("45 % of 200 reads of b failed")
    assert [one.about for one in shown.concerns] == ["users", "servers", "users"]


def test_a_view_is_slow_or_cold_by_its_own_limit_only() -> None:
    assert picture(checked=9, hit_rate=0.9, answered={"page": answered()}).concerns == []
    assert picture(answered={"page": answered(slow_from_s=0.1)}).says.startswith("Reads of page are slow")
    cold = view(reads_ever=9).model_copy(update={"reads": 500, "hit_rate": 0.1})
    assert picture(checked=9, hit_rate=0.1, views={"search": cold}).concerns == []
    limited = cold.model_copy(update={"cold_below": 0.5})
    assert picture(checked=9, hit_rate=0.1, views={"search": limited}).says == (
        "Search is cold: 10 % of 500 reads in the last hour were hits, the limit is 50 %"
    )


def test_old_dead_letters_do_not_stay_a_warning() -> None:
    lanes = {"warm": lane(ready=0).model_copy(update={"dead": 3})}
    assert picture(checked=9, hit_rate=0.9, lanes=lanes, dead_lately=0).verdict is Verdict.WELL
    assert picture(lanes=lanes, dead_lately=2).says == "2 dead letters of the last 24 hours"


@pytest.mark.parametrize("workers", [[], [SILENT]])
def test_without_a_living_worker_something_is_wrong(workers: list[WorkerSeen]) -> None:
    assert picture(checked=9, hit_rate=0.99, workers=workers).verdict is Verdict.WRONG
    assert picture(checked=9, hit_rate=0.99, workers=[*workers, ALIVE]).verdict is Verdict.WELL


def lane(*, ready: int) -> LaneNow:
    figures = dict.fromkeys(LaneNow.model_fields, 0)
    return LaneNow.model_validate({**figures, "paused": False, "totals": {}, "slots": None, "ready": ready})


def test_a_lane_that_no_worker_runs_is_named_once_jobs_wait_in_it() -> None:
    def said(**changes: object) -> list[str]:
        return [concern.says for concern in picture(**changes).concerns]  # type: ignore[arg-type]

    lanes = {"mail": lane(ready=1), "sums": lane(ready=0), "warm": lane(ready=2)}
    found = said(lanes=lanes, served=["warm"])
    assert found == ["no worker runs lane mail: 1 job waits; see stoker run --lanes"]
    assert said(lanes=lanes, served=["mail", "warm"]) == []
    assert said(lanes=lanes, served=["warm"], workers=[SILENT]) == [
        "no worker reports: start one, or read its log"
    ]
    assert said(lanes=lanes, served=None) == []


def test_a_server_that_does_not_answer_is_named_with_its_address_and_a_slow_one_too() -> None:
    servers = {
        "database": ServerHealth(ok=False, ms=800, error="no answer in time", address="db:5432"),
        "queue": ServerHealth(ok=True, ms=400, address="queue:6379"),
        "cache": ServerHealth(ok=True, ms=1, address="cache:6379"),
    }
    shown = picture(health=Health(ok=False, servers=servers), missing={"changes": "Postgres does not answer"})
    assert [one.says for one in shown.concerns] == [
        (
            "Postgres (db:5432) does not answer; "
            "without it, writes fail, and so do reads that the cache cannot answer"
        ),
        "the queue Redis (queue:6379) is slow: it took 400 ms to answer",
    ]


def test_a_part_that_is_not_known_while_every_server_answers_is_said_once() -> None:
    why = "Postgres did not answer within 0.8 s"
    shown = picture(checked=9, hit_rate=0.99, missing={"changes": why, "workers": why})
    assert (shown.verdict, [one.says for one in shown.concerns]) == (Verdict.WATCH, [why])
