"""Each line and each condition of the queue's scripts is needed: without it, a scenario fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from stoker.embedded.valkey import Valkey
from stoker.errors import StokerError
from stoker.queue.batches import BATCH
from stoker.queue.enqueue import BEGIN, CANCEL, ENQUEUE, Queue
from stoker.queue.prelude import PRELUDE
from stoker.redis.script import Script, digest_of, joined
from stoker.worker.engine.claims import CLAIM, FINISH, UPKEEP
from stoker.worker.engine.depth import DEPTH
from tests.scripts import batching, claiming, ending, enqueueing, fairness, keeping, pacing  # noqa: F401 - they declare scenarios
from tests.scripts.ground import PREFIX, SCENARIOS, Ground, Scenario
from tests.scripts.mutants import Mutant, mutants
from tests.scripts.needless import NEEDLESS
from tests.support.engine_fixtures import known_jobs as known_jobs  # noqa: PLC0414 - a fixture
from tests.support.engine_stage import settings_of

SHARED = (BATCH, CLAIM, FINISH, UPKEEP, ENQUEUE, CANCEL)
"""Those that have the prelude."""
SCRIPTS = {
    "batch": BATCH,
    "begin": BEGIN,
    "cancel": CANCEL,
    "claim": CLAIM,
    "depth": DEPTH,
    "enqueue": ENQUEUE,
    "finish": FINISH,
    "upkeep": UPKEEP,
}
LONGEST_S = 5
"""A scenario that takes longer does not end."""


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    """A server of the test's own: scenarios empty it."""
    server = Valkey("scripts", tmp_path / "data", tmp_path, tmp_path / "log", ["--save", ""])
    await asyncio.to_thread(server.start)
    queue = Queue.from_url(server.url, settings_of(PREFIX))
    yield Ground(queue, server.url)
    await queue.close()
    await asyncio.to_thread(server.kill)


@pytest.mark.parametrize("name", SCRIPTS)
async def test_the_scenarios_hold(ground: Ground, name: str) -> None:
    for scenario in SCENARIOS[name]:
        await ground.redis.flushall()
        await scenario(ground)


@pytest.mark.parametrize("name", SCRIPTS)
async def test_no_line_can_be_taken_away(ground: Ground, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = SCRIPTS[name]
    survivors = set()
    for mutant in mutants(script.own.decode()):
        _put(monkeypatch, script, joined(script.prelude, mutant.source.encode()))
        if not await _is_noticed(ground, SCENARIOS[name], mutant):
            survivors.add(mutant.line)
    _check(name, survivors)


async def test_no_line_of_what_they_share_can_be_taken_away(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(script.prelude == PRELUDE for script in SHARED)
    scenarios = list(dict.fromkeys(chain.from_iterable(SCENARIOS[script.name] for script in SHARED)))
    survivors = set()
    for mutant in mutants(PRELUDE.decode()):
        for script in SHARED:
            _put(monkeypatch, script, joined(mutant.source.encode(), script.own))
        if not await _is_noticed(ground, scenarios, mutant):
            survivors.add(mutant.line)
    _check("prelude", survivors)


def _put(patch: pytest.MonkeyPatch, script: Script, source: bytes) -> None:
    patch.setattr(script, "source", source)
    patch.setattr(script, "digest", digest_of(source))


def _check(name: str, survivors: set[str]) -> None:
    assert survivors - NEEDLESS[name].keys() == set(), "no scenario fails without these"
    assert NEEDLESS[name].keys() - survivors == set(), "these are needed after all, or are gone"


async def _is_noticed(ground: Ground, scenarios: list[Scenario], mutant: Mutant) -> bool:
    for scenario in scenarios:
        await ground.redis.flushall()
        try:
            async with asyncio.timeout(LONGEST_S):
                await scenario(ground)
        except RedisError as error:
            if "compiling" in str(error).lower():
                pytest.fail(f"this is no Lua without {mutant.line}: {error}")
            return True
        except (AssertionError, StokerError, LookupError, ValueError, TypeError, TimeoutError):
            return True
    return False
