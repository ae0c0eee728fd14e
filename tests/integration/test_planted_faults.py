"""The faults that `python -m bench.faults` draws over the example application."""

from __future__ import annotations

from typing import Any

import pytest

import jobs
from bench.faults.__main__ import CLASSES, drawn
from bench.faults.ground import ground_of
from stoker import Rule
from stoker.coverage.cover import cover


@pytest.fixture
async def filled(database_url: str) -> str:
    assert jobs.domain.sample_data is not None
    await jobs.domain.sample_data.load(database_url, 1, 20, lambda _done, _total: None)
    return database_url


async def test_every_class_has_places_and_a_seed_always_draws_the_same(filled: str) -> None:
    ground = await ground_of(filled)
    places = {name: [fault.place for fault in of_class(ground)] for name, of_class in CLASSES.items()}
    assert all(places.values())
    assert all(len(found) == len(set(found)) for found in places.values())
    once, again, other = (
        [(name, fault.place) for name, fault in drawn(ground, seed, 10)] for seed in (1, 1, 2)
    )
    assert once == again != other
    assert all(place in places[name] for name, place in once)


async def test_a_loader_that_is_drawn_reads_the_new_column(filled: str) -> None:
    for fault in CLASSES["a loader shows a new column"](await ground_of(filled)):
        if fault.place == "stats: users.email":
            found = {view.view: view.uncovered for view in await cover(filled, fault.domain)}
            assert [f"{one.table}.{one.column}" for one in found.pop("stats")] == ["users.email"]
            assert not any(found.values())
            return
    pytest.fail("no such place")


async def test_a_rule_that_is_drawn_forgets_the_view_and_no_other(filled: str) -> None:
    for fault in CLASSES["a rule forgets a view"](await ground_of(filled)):
        if fault.place == "member_changed: stats":
            (rule,) = [one for one in fault.domain.rules if one.event.kind == "member_changed"]
            assert _named(rule) == {"access", "list", "search"}
            return
    pytest.fail("no such place")


def _named(rule: Rule[Any]) -> set[str]:
    event = rule.event.model_validate({"project_id": 1, "user_id": 2})
    return {view for one in rule.invalidates(event) for view in one.views}
