"""Terms on a cluster: each question goes to one node, with keys of one slot, and renews no other term."""

from __future__ import annotations

import asyncio
import re

import pytest

from stoker import Asked, Forbidden, Reading, State
from tests.races.test_terms import Terms, _term_s, _terms
from tests.support.clusters import ClusterWorld


@pytest.fixture
async def terms(world: ClusterWorld, monkeypatch: pytest.MonkeyPatch) -> Terms:
    """The web process has read note 1, and one of another node, within their terms, which are over."""
    other = world.elsewhere()
    await world.sql("INSERT INTO notes VALUES (:id, 'other')", id=other)
    await world.sql("INSERT INTO note_members VALUES (:id, 1)", id=other)
    terms = await _terms(world, monkeypatch)
    for _ in range(3):
        await terms.read()
        await terms.web.read(other)
    terms.time.real_s += _term_s(1.01)
    for node in world.cluster.nodes:
        await asyncio.to_thread(node.ask, "CONFIG RESETSTAT")
    return terms


async def told(world: ClusterWorld, what: str) -> dict[str, int]:
    """A figure of INFO by node, where it is there."""
    found = {}
    for node in world.cluster.nodes:
        said = await asyncio.to_thread(node.ask, "INFO commandstats", "INFO errorstats")
        if seen := re.search(rf"{what}=(\d+)", said):
            found[node.name] = int(seen[1])
    return found


async def questions(world: ClusterWorld) -> dict[str, int]:
    """How many MGETs each node has answered; none may have been refused for keys of two slots."""
    assert await told(world, "errorstat_CROSSSLOT:count") == {}
    return await told(world, "cmdstat_mget:calls")


async def test_a_hit_asks_its_own_node_once_though_other_terms_are_over(
    world: ClusterWorld, terms: Terms
) -> None:
    other = world.elsewhere()
    first, second = world.owner().name, world.owner(world.names(note_id=other)).name
    found = await terms.web.read()
    assert (found.state, found.value) == (State.HIT, {"body": "v1"})
    assert await questions(world) == {first: 1}
    found = await terms.web.read(other)
    assert (found.state, found.value) == (State.HIT, {"body": "other"})
    assert await questions(world) == {first: 1, second: 1}, "its term was not renewed with another question"
    assert [(await terms.web.read(one)).state for one in (1, other)] == [State.HIT, State.HIT]
    assert await questions(world) == {first: 1, second: 1}, "both are served within their terms now"


async def test_a_batch_asks_each_node_for_its_own_entries(world: ClusterWorld, terms: Terms) -> None:
    asked = [Asked("detail", 1), Asked("detail", world.elsewhere()), Asked("mine", 1)]
    readings = await terms.web.stoker.read_many(asked, reader=1)
    found = [(one.state, one.value) for one in readings if isinstance(one, Reading)]
    assert found == [(State.HIT, one) for one in ({"body": "v1"}, {"body": "other"}, ["v1", "other"])]
    assert sum((await questions(world)).values()) == len(asked)
    refused = await terms.web.stoker.read_many(asked[:2], reader=2)
    assert [type(one) for one in refused] == [Forbidden] * 2


async def test_what_was_before_an_applied_change_is_not_shown_on_any_node(
    world: ClusterWorld, terms: Terms
) -> None:
    other = world.elsewhere()
    await terms.read()
    await terms.web.read(other)
    for note_id in (1, other):
        await world.write("v2", note_id)
    await terms.worker.apply()
    assert [await terms.web.body(one) for one in (1, other)] == ["v2", "v2"]
