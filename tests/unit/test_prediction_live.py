"""Prediction beside an application: who is in force, what is spent, and what strange times do to it."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from zoneinfo import ZoneInfo

import pytest

from stoker.prediction import activity
from stoker.prediction.activity import OF_ONE_READER, Activities
from stoker.prediction.budget import Candidate
from stoker.prediction.contest import COUNTS, DEFAULT, NONE, PREDICTOR, Contest, Hour
from stoker.prediction.features import Kind
from stoker.prediction.live import Live
from stoker.prediction.regression import Regression
from stoker.prediction.snapshot import dump, load

HOUR = 3600.0
DAY = 24 * HOUR
MONDAY = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
STEP_S = 1800.0
PAGE = Kind(3, 1800.0)
COST_S = 0.02


def live(rate: float = COST_S * 4 / STEP_S) -> Live:
    """The budget pays four entries a step."""
    return Live(lambda _: PAGE, rate)


class Office:
    """People who come at hours of their own, each to the same page; and pages that nobody reads."""

    def __init__(self, model: Live, people: int = 60) -> None:
        self.model = model
        self.random = Random(5)
        self.hours = [8 + number % 9 for number in range(people)]
        self.pages = [f"page-{number}" for number in range(people)]
        self.idle = [f"idle-{number}" for number in range(20)]
        self.chosen: list[tuple[float, Candidate]] = []

    def day(self, day: int, *, people: Sequence[int] | None = None, warms: bool = True) -> None:
        """Live through a day, with a plan each STEP_S."""
        come = [
            (MONDAY + day * DAY + self.hours[one] * HOUR + self.random.random() * 1200 + 300, one)
            for one in (range(len(self.pages)) if people is None else people)
        ]
        come.sort()
        for step in range(int(DAY / STEP_S)):
            now = MONDAY + day * DAY + step * STEP_S
            chosen = self.model.plan(now, STEP_S, [*self.pages, *self.idle], lambda _: COST_S)
            self.chosen += [(now, one) for one in chosen]
            if warms:
                self.model.built(now, chosen, [], len(chosen) * COST_S)
            while come and come[0][0] < now + STEP_S:
                at, one = come.pop(0)
                self.model.read(at, f"person-{one}", self.pages[one])


@pytest.fixture(scope="module")
def settled() -> bytes:
    """An office after two weeks."""
    office = Office(live())
    for day in range(14):
        office.day(day)
    assert office.model.contest.judgement.in_force == PREDICTOR
    return dump(office.model)


def office_after_two_weeks(settled: bytes) -> Office:
    office = Office(live())
    assert load(office.model, settled)
    return office


def test_a_cold_start_leaves_the_default_plan_in_force_for_a_day() -> None:
    office = Office(live())
    office.day(0)
    assert office.chosen == []
    assert office.model.contest.judgement.in_force == DEFAULT
    assert "of 24 hours are over" in office.model.contest.judgement.why


def test_the_predictor_takes_over_where_its_last_day_was_better(settled: bytes) -> None:
    office = office_after_two_weeks(settled)
    office.day(14)
    days = {name: one.last_day(office.model.now) for name, one in office.model.contest.contenders.items()}
    assert days[PREDICTOR].misses < days[COUNTS].misses
    assert days[PREDICTOR].misses < days[DEFAULT].misses <= days[NONE].misses
    assert {one.entry for _, one in office.chosen} <= set(office.pages), "nobody reads the idle ones"
    counted = office.model.counted
    assert counted.used / counted.warmed > 0.3
    assert counted.spent_s <= office.model.rate * 15 * DAY


def test_it_falls_back_when_it_gets_worse(settled: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    office = office_after_two_weeks(settled)
    office.day(14)
    monkeypatch.setattr(Regression, "probability", lambda _, __: 0.5)  # it cannot tell entries apart
    for day in range(15, 17):
        office.day(day)
    assert office.model.contest.judgement.in_force in {COUNTS, DEFAULT}


def test_too_few_reads_are_no_ground_for_a_change() -> None:
    contest = Contest(rate=1.0)
    for hour in range(30):
        contest.read(MONDAY + hour * HOUR, "page", 1800, COST_S)
        contest.plan(MONDAY + hour * HOUR + 60, HOUR, {}, lambda _: 1.0, lambda _: 1800)
    assert contest.judgement.in_force == DEFAULT
    assert "too few" in contest.judgement.why


@pytest.mark.parametrize(("spent_s", "in_force"), [(100.0, PREDICTOR), (1.0e9, COUNTS)])
def test_fewer_misses_at_a_higher_cost_do_not_win(spent_s: float, in_force: str) -> None:
    contest, now = Contest(rate=1.0), MONDAY + 30 * HOUR
    contest.begun = MONDAY
    misses = {NONE: 1000, DEFAULT: 800, COUNTS: 700, PREDICTOR: 200}
    for name, one in contest.contenders.items():
        spent = spent_s if name == PREDICTOR else 100.0
        one.hours = {int(now // 3600): Hour(misses[name], misses[name] * COST_S, spent)}
    contest.plan(now, HOUR, {}, lambda _: 1.0, lambda _: 1800)
    assert contest.judgement.in_force == in_force


@pytest.mark.parametrize(("least", "in_force"), [(0.0, COUNTS), (0.2, PREDICTOR), (0.9, DEFAULT)])
def test_what_a_second_of_warming_counts_decides_who_warms(least: float, in_force: str) -> None:
    contest, now = Contest(rate=1.0, least=least), MONDAY + 30 * HOUR
    contest.begun = MONDAY
    done = {NONE: (1000, 0), DEFAULT: (700, 0), COUNTS: (400, 1500), PREDICTOR: (500, 400)}
    for name, one in contest.contenders.items():
        one.hours = {int(now // 3600): Hour(done[name][0], done[name][0] * COST_S, done[name][1] * COST_S)}
    contest.plan(now, HOUR, {}, lambda _: 1.0, lambda _: 1800)
    assert contest.judgement.in_force == in_force
    assert "by the predictor 10 s (500 misses) after 8 s of warming" in contest.judgement.why


def test_a_few_entries_that_cost_much_weigh_more_than_many_that_cost_little() -> None:
    contest, now = Contest(rate=1.0), MONDAY + 30 * HOUR
    contest.begun = MONDAY
    waited = {NONE: (300, 60.0), DEFAULT: (50, 50.0), COUNTS: (40, 55.0), PREDICTOR: (200, 10.0)}
    for name, one in contest.contenders.items():
        one.hours = {int(now // 3600): Hour(*waited[name])}
    contest.plan(now, HOUR, {}, lambda _: 1.0, lambda _: 1800)
    assert contest.judgement.in_force == PREDICTOR


@pytest.mark.parametrize(("on_a_weekend", "in_force"), [(60, PREDICTOR), (300, DEFAULT)])
def test_who_is_best_on_a_quiet_day_need_not_be_on_others(on_a_weekend: int, in_force: str) -> None:
    contest, saturday = Contest(rate=1.0), MONDAY + 5 * DAY
    contest.begun = MONDAY
    for name, one in contest.contenders.items():
        misses = 200 if name == PREDICTOR else 1000
        one.hours = {int((MONDAY + day * DAY) // 3600): Hour(misses, misses * COST_S) for day in range(5)}
    contest.plan(saturday - HOUR, HOUR, {}, lambda _: 1.0, lambda _: 1800)
    assert contest.judgement.in_force == PREDICTOR
    for name, one in contest.contenders.items():
        misses = 0 if name == DEFAULT else on_a_weekend
        one.hours[int((saturday + 12 * HOUR) // 3600)] = Hour(misses, misses * COST_S)
    contest.plan(saturday + DAY + HOUR, HOUR, {}, lambda _: 1.0, lambda _: 1800)
    assert contest.judgement.in_force == in_force


@pytest.mark.parametrize(("lost_more", "in_force"), [(15, PREDICTOR), (25, COUNTS)])
def test_who_is_in_force_is_not_replaced_for_a_difference_that_may_be_chance(
    lost_more: int, in_force: str
) -> None:
    contest, now = Contest(rate=1.0), MONDAY + 30 * HOUR
    contest.begun = MONDAY

    def judge(hour: int, misses: dict[str, int]) -> str:
        for name, one in contest.contenders.items():
            one.hours = {int(now // 3600): Hour(misses[name], misses[name] * COST_S)}
        contest.plan(now + hour * HOUR, HOUR, {}, lambda _: 1.0, lambda _: 1800)
        return contest.judgement.in_force

    assert judge(0, {NONE: 300, DEFAULT: 250, COUNTS: 150, PREDICTOR: 100}) == PREDICTOR
    assert judge(1, {NONE: 300, DEFAULT: 250, COUNTS: 100 - lost_more, PREDICTOR: 100}) == in_force


def test_what_warming_costs_and_readers_wait_for_is_counted_in_the_contest() -> None:
    contest = Contest(rate=2 / HOUR)
    scores: dict[str, Mapping[Hashable, float]] = {PREDICTOR: {"one": 0.9, "other": 0.8}}
    contest.plan(MONDAY, HOUR, scores, lambda _: 1.0, lambda _: 1800)
    for entry in ("one", "third"):
        contest.read(MONDAY + 60, entry, 1800, 0.5)
    day = contest.contenders[PREDICTOR].last_day(MONDAY)
    assert (day.misses, day.missed_s, day.spent_s) == (1, 0.5, 2.0)


def test_after_a_quiet_weekend_it_stays_as_it_was(settled: bytes) -> None:
    office = office_after_two_weeks(settled)
    for day in range(14, 17):
        office.day(day, people=())
    assert office.model.contest.judgement.in_force == PREDICTOR
    assert "stays as it was" in office.model.contest.judgement.why


def test_on_a_holiday_hardly_anything_is_warmed(settled: bytes) -> None:
    office = office_after_two_weeks(settled)
    office.day(14)
    working = len(office.chosen)
    office.chosen.clear()
    office.day(15, people=())
    assert len(office.chosen) < working / 2
    after_ten = [one for now, one in office.chosen if now >= MONDAY + 15 * DAY + 12 * HOUR]
    assert len(after_ten) < working / 5, "by noon it has noticed"
    office.chosen.clear()
    office.day(16)
    spent = sum(one.cost_s for _, one in office.chosen)
    assert spent <= office.model.rate * 2 * DAY, "what a holiday saves is not spent at once"


def test_hours_are_those_of_the_clock_on_the_wall_when_it_changes() -> None:
    berlin = Activities(ZoneInfo("Europe/Berlin"))
    before = datetime(2024, 3, 30, 8, tzinfo=UTC).timestamp()  # nine o'clock in winter
    berlin.read(before, "ann", "page")
    after = datetime(2024, 4, 2, 7, tzinfo=UTC).timestamp()  # nine o'clock in summer, three days later
    found = berlin.get("page")
    assert found is not None
    assert found.hours(berlin.hour(after)) == 1 << 3 * 24


def test_hours_that_come_twice_in_autumn_do_not_go_back() -> None:
    troll = Activities(ZoneInfo("Antarctica/Troll"))  # there the clock goes back by two hours
    start = datetime(2024, 10, 26, 22, tzinfo=UTC).timestamp()
    hours = [troll.hour(start + quarter * 900) for quarter in range(40)]
    assert hours == sorted(hours)
    assert hours[-1] - hours[0] == 7, "nine hours, two of them twice"
    for quarter in range(40):
        troll.read(start + quarter * 900 + 1, "ann", "page")


def test_a_new_user_is_predicted_after_the_first_visits(settled: bytes) -> None:
    office = office_after_two_weeks(settled)
    office.pages.append("page-new")
    office.hours.append(11)
    asked = MONDAY + 17 * DAY + 11 * HOUR
    unknown = office.model.explain(asked, "page-new")
    assert unknown.last_read is None
    assert unknown.probability < 0.2, "of a page that nobody has read, little is expected"
    for day in range(14, 17):
        office.day(day)
    known = office.model.explain(asked, "page-new")
    assert known.probability > 2 * unknown.probability
    assert known.probability > 3 * office.model.explain(asked + 8 * HOUR, "page-new").probability


def test_a_flood_by_one_client_changes_little(settled: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "ENTRIES_KEPT", 500)
    calm, flooded = office_after_two_weeks(settled), office_after_two_weeks(settled)
    calm.day(14)
    for number in range(20_000):  # all within a minute, at midnight
        flooded.model.read(MONDAY + 14 * DAY + number / 400, "robot", f"crawled-{number}")
    known = flooded.model.predictor.activities
    assert len(known) <= 60 + OF_ONE_READER
    assert all(known.get(page) is not None for page in flooded.pages)
    flooded.day(14)
    at = MONDAY + 15 * DAY + 9 * HOUR
    for page in flooded.pages[:9]:
        ours, theirs = (one.model.explain(at, page).probability for one in (flooded, calm))
        assert ours == pytest.approx(theirs, abs=0.15)
    assert flooded.model.contest.judgement.in_force == PREDICTOR, flooded.model.contest.judgement.why


def test_what_is_warmed_and_then_changes_is_wasted(settled: bytes) -> None:
    model = office_after_two_weeks(settled).model
    now, before = model.now, model.counted.wasted_s
    model.built(now, [Candidate(0.9, "page-1", COST_S), Candidate(0.9, "page-2", COST_S)], [], 2 * COST_S)
    model.change(now + 1, "page-1")
    used = model.counted.used
    model.read(now + 2, "person-1", "page-1")
    model.read(now + 2, "person-2", "page-2")
    assert model.counted.wasted_s == pytest.approx(before + COST_S)
    assert model.counted.used == used + 1


def test_what_is_warmed_again_before_anybody_has_read_it_was_wasted(settled: bytes) -> None:
    model = office_after_two_weeks(settled).model
    now, before = model.now, model.counted.wasted_s
    for later_s in (0, PAGE.life_s - 1):
        model.built(now + later_s, [Candidate(0.9, "page-1", COST_S)], [], COST_S)
    used = model.counted.used
    model.read(now + PAGE.life_s, "person-1", "page-1")
    assert model.counted.wasted_s == pytest.approx(before + COST_S)
    assert model.counted.used == used + 1


def test_entries_that_change_before_they_are_read_are_not_predicted() -> None:
    def probability(*, changes: bool) -> float:
        model = live()
        for hour in range(24 * 7):
            now = MONDAY + hour * HOUR
            model.plan(now, HOUR, [], lambda _: COST_S)
            if changes:
                model.change(now + 600, "page")
            model.read(now + 1200, "ann", "page")
        return model.explain(model.now + 2400, "page").probability

    assert probability(changes=True) < 0.3
    assert probability(changes=False) > 0.8


def test_warming_is_no_read(settled: bytes) -> None:
    """A predictor that learns from its own warming confirms itself."""
    one, other = office_after_two_weeks(settled), office_after_two_weeks(settled)
    one.day(14, warms=True)
    other.day(14, warms=False)
    at = MONDAY + 15 * DAY + 9 * HOUR
    for page in one.pages:
        assert one.model.explain(at, page) == other.model.explain(at, page)


def test_what_was_learnt_survives_a_restart(settled: bytes) -> None:
    office = office_after_two_weeks(settled)
    assert json.loads(dump(office.model)) == json.loads(settled)
    went_on, restarted = office_after_two_weeks(settled), office_after_two_weeks(settled)
    went_on.day(14)
    restarted.day(14)
    assert went_on.chosen == restarted.chosen != []


@pytest.mark.parametrize("stored", [b"", b"null", b"{}", b'{"format":1}', b'{"format":1,"features":{}}'])
def test_a_state_that_cannot_be_used_is_as_none(stored: bytes) -> None:
    model = live()
    assert not load(model, stored)
    assert dump(model) == dump(live())


def test_a_damaged_state_leaves_nothing_behind(settled: bytes) -> None:
    damaged = json.loads(settled)
    damaged["contenders"].pop(COUNTS)
    model = live()
    assert not load(model, json.dumps(damaged).encode())
    assert dump(model) == dump(live())
