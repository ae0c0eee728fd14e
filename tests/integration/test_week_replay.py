"""The replayed week: real servers at a clock that jumps count the same hits as the model of them."""

from __future__ import annotations

import pytest

import jobs
from bench import week
from bench.ground import forget_events
from bench.replay.office import MISSES, REFRESH, Clock, Loads, domain, furnish
from bench.replay.week import Replay
from bench.week import BEGIN, Act, Cache, Office
from stoker import Stoker
from tests.support.place import Place


async def test_real_servers_count_as_the_model_does(place: Place) -> None:
    office, at, entry = Office(3, days=1, lead_days=0), BEGIN + 90, "detail/0"
    office.teams, office.projects = [[0, 1]], [[0], [0]]
    office.acts = [
        Act(at, 1, entry),
        Act(at + 10, 0, entry),
        Act(at + 20, 0, "0", changes=True),  # it is in demand: the worker builds it again
        Act(at + 30, 1, entry),
        Act(at + 30 + 3 * week.TTL_S["detail"], 1, entry),
    ]
    assert jobs.domain.sample_data is not None
    await jobs.domain.sample_data.load(place.database_url, 1, 2, lambda _done, _total: None)
    clock = Clock()
    loads = Loads(clock, BEGIN)
    async with Stoker.opened(place.settings(), domain(clock, loads)) as stoker:
        with clock.shown():
            async with stoker.engine.begin() as connection:
                await furnish(connection, office)
            await forget_events(place.database_url)
            played = await Replay(stoker, office, clock, loads, None).play(lambda _at: None)
    model = Cache(office, None).play()
    assert (played.reads["detail"], played.hits["detail"]) == (4, 2)
    assert (played.reads, played.hits) == (model.reads, model.hits)
    assert loads.model_s(MISSES) == pytest.approx(model.sql_s["misses"])
    assert loads.entries[REFRESH]["detail"] == 1
