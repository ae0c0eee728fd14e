"""The predictor learns from reads alone, within its bounds, and its budget is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from stoker.prediction import activity, features
from stoker.prediction.activity import Activities, Activity
from stoker.prediction.budget import Candidate, FixedBudget, ThresholdBudget
from stoker.prediction.calibration import Calibration
from stoker.prediction.predictor import Predictor
from stoker.prediction.regression import Regression

HOUR = 3600.0
DAY = 24 * HOUR
MONDAY = datetime(2024, 1, 1, tzinfo=UTC).timestamp()


def test_a_client_that_polls_has_the_weight_of_one_reader() -> None:
    flooded, read = Activity(MONDAY), Activity(MONDAY)
    for second in range(50):
        flooded.read(MONDAY + second, "robot", 0)
    read.read(MONDAY, "ann", 0)
    assert flooded.slow == pytest.approx(read.slow, rel=0.001)
    read.read(MONDAY + 1, "bob", 0)
    assert read.slow == pytest.approx(2, rel=0.001)


def test_a_client_that_polls_for_an_hour_counts_once_a_minute() -> None:
    polled = Activity(MONDAY)
    for second in range(0, 3600, 5):
        polled.read(MONDAY + second, "robot", 0)
    assert 59 <= polled.slow <= 61


def test_hours_are_remembered_for_four_weeks() -> None:
    found, monday = Activity(MONDAY), int(MONDAY // HOUR)
    found.read(MONDAY + 9 * HOUR, "ann", monday + 9)
    found.read(MONDAY + DAY + 9 * HOUR, "ann", monday + 24 + 9)
    hour = monday + 28 * 24 + 9
    assert [back for back in range(800) if found.hours(hour) >> back & 1] == [27 * 24, 28 * 24]
    assert found.hours(hour + 700) == 0


def test_memory_is_bounded_and_the_longest_unread_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "ENTRIES_KEPT", 100)
    monkeypatch.setattr(activity, "READERS_KEPT", 10)
    known = Activities()
    for number in range(1000):
        known.read(MONDAY + number * HOUR, f"reader-{number}", f"entry-{number}")
        known.read(MONDAY + number * HOUR, "ann", "always")
        known.change(MONDAY + number * HOUR, "unknown")
    assert len(known) <= 100
    assert len(known.last_by_reader) <= 10
    assert {"always", "entry-999"} <= {entry for entry, _ in known.since(0)}
    assert len(known.reads_by_hour) <= 2 * activity.WEEK + 1


def test_the_hour_of_the_day_is_the_installations_through_a_clock_change() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for day, hour in ((30, 8), (31, 9), (32, 9)):  # the clock goes forward on 31 March 2024
        at = datetime(2024, 3, 1, 7, tzinfo=UTC).timestamp() + (day - 1) * DAY
        assert features.moment(Activities(berlin), at).hour_of_day == hour


def test_every_bin_has_a_weight_of_its_own() -> None:
    known = Activities()
    for number in range(2000):
        known.read(MONDAY + number * 1700, number % 7, number % 13)
    for number, hours in enumerate((0, 0.1, 3, 30, 200, 3000)):
        at = features.moment(known, MONDAY + 2000 * 1700 + hours * HOUR)
        for _, found in known.since(0):
            bins = features.bins(found, at, None, features.Kind(number, 10.0**number))
            starts = [sum(list(features.SIZES.values())[:number]) for number in range(len(bins))]
            ends = [*starts[1:], features.BINS]
            assert all(start <= one < end for start, one, end in zip(starts, bins, ends, strict=True))


def test_it_learns_who_comes_when() -> None:
    predictor = Predictor(lambda _: features.Kind(0, HOUR))
    for day in range(28):
        for hour in range(24):
            predictor.predict(MONDAY + day * DAY + hour * HOUR)
            if hour in (9, 15):
                visitor = "early" if hour == 9 else "late"
                predictor.read(MONDAY + day * DAY + hour * HOUR + 600, visitor, visitor)
    at_nine = predictor.predict(MONDAY + 28 * DAY + 9 * HOUR)
    assert at_nine["early"] > 0.5 > 10 * at_nine["late"]
    at_three = predictor.predict(MONDAY + 28 * DAY + 15 * HOUR)
    assert at_three["late"] > 0.5
    assert at_three["early"] < at_three["late"] / 3


def test_entries_that_nobody_reads_any_more_are_not_predicted() -> None:
    predictor = Predictor(lambda _: features.Kind(0, HOUR))
    predictor.read(MONDAY, "ann", "old")
    assert "old" in predictor.predict(MONDAY + DAY)
    assert "old" not in predictor.predict(MONDAY + 15 * DAY)


def test_nothing_is_left_behind_by_examples() -> None:
    predictor = Predictor(lambda _: features.Kind(0, HOUR))
    for number in range(100):
        predictor.read(MONDAY + number * HOUR, "ann", number % 10)
        predictor.predict(MONDAY + number * HOUR + 1)
    predictor.predict(MONDAY + 200 * HOUR)
    predictor.predict(MONDAY + 1000 * DAY)
    assert not predictor.open
    assert not predictor._ends


def test_a_calibration_without_outcomes_changes_nothing_and_a_few_change_little() -> None:
    calibration = Calibration()
    assert [calibration.curve()(one) for one in (0.001, 0.35, 0.999)] == pytest.approx([0.001, 0.35, 0.999])
    calibration.note(0.35, read=True)
    assert 0.35 < calibration.curve()(0.35) < 0.37


def test_a_calibration_of_certainties_alone_keeps_them() -> None:
    calibration = Calibration()
    calibration.note(1.0, read=True)
    assert calibration.curve()(1.0) == 1.0


def test_a_calibration_corrects_by_outcomes_and_keeps_the_order() -> None:
    calibration = Calibration()
    for number in range(2000):
        calibration.note(0.15, read=number % 10 < 3)  # twice as often as was predicted
        calibration.note(0.25, read=number % 10 < 2)  # less often than what is predicted lower
        calibration.note(0.85, read=number % 10 < 7)
    curve = calibration.curve()
    assert curve(0.15) == pytest.approx(0.3, abs=0.02)
    assert curve(0.85) == pytest.approx(0.7, abs=0.02)
    found = [curve(number / 1000) for number in range(1001)]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, 1)


def test_probabilities_are_corrected_by_what_became_of_the_last_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Regression, "probability", lambda _, __: 0.3)  # it does not learn any more
    predictor = Predictor(lambda _: features.Kind(0, HOUR))
    for number in range(1000):
        predictor.read(MONDAY + number * 2 * HOUR + 60, "ann", "page")
        found = predictor.predict(MONDAY + number * 2 * HOUR + 120)
        if number % 10:
            predictor.read(MONDAY + number * 2 * HOUR + 180, "ann", "page")
    assert found["page"] == pytest.approx(0.9, abs=0.05)


def offers(*scores: float) -> list[Candidate]:
    return [Candidate(score, number, 1.0) for number, score in enumerate(scores)]


def test_a_fixed_budget_takes_the_highest_scores_and_saves_nothing_but_parts_of_an_entry() -> None:
    budget = FixedBudget(rate=2.5)
    assert [one.score for one in budget.choose(offers(1, 5, 3, 4), 1)] == [5, 4]
    assert [one.score for one in budget.choose(offers(1, 5, 3, 4), 1)] == [5, 4, 3], "a half and a half"
    assert budget.choose([], 100) == []
    assert len(budget.choose(offers(*range(50)), 1)) <= 3


def test_a_threshold_spends_at_busy_times_what_it_saved_at_quiet_ones() -> None:
    budget = ThresholdBudget(rate=1 / HOUR)  # an entry an hour, or 24 a day
    by_hour = dict.fromkeys(range(24), 0)
    for day in range(30):
        for hour in range(24):
            busy = hour in (9, 10)
            chosen = budget.choose(offers(*([0.9] * 10 if busy else [0.01] * 10)), HOUR)
            by_hour[hour] += len(chosen) if day >= 10 else 0
    assert by_hour[9] + by_hour[10] >= 0.8 * sum(by_hour.values())
    assert by_hour[9] + by_hour[10] >= 20 * 18


def test_a_threshold_never_spends_ahead_of_its_budget() -> None:
    budget = ThresholdBudget(rate=3 / HOUR)
    spent = 0
    for hour in range(1, 500):
        spent += len(budget.choose(offers(*([0.5] * (hour % 40))), HOUR))
        assert spent <= 3 * hour
    assert spent >= 0.7 * 3 * 500


def test_a_budget_is_spent_although_all_scores_are_alike() -> None:
    budget = ThresholdBudget(rate=2.5 / HOUR)
    chosen = [budget.choose(offers(*[0.5] * 10), HOUR) for _ in range(400)]
    spent = sum(map(len, chosen))
    assert 0.95 * 2.5 * 400 <= spent <= 2.5 * 400
    assert {one.entry for each in chosen[200:] for one in each} == {0, 1, 2}, "the same ones each time"


def test_what_loading_really_took_is_what_counts() -> None:
    budget = ThresholdBudget(rate=2 / HOUR)
    spent = 0.0
    for _ in range(400):
        planned = float(len(budget.choose(offers(*[0.5] * 10), HOUR)))
        budget.spent(planned, planned * 4)
        spent += planned * 4
    assert 0.8 * 2 * 400 <= spent <= 2 * 400 + 16
