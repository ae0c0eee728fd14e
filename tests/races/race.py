"""Makes of one scenario its test and, for each guard that closes it, the proof that the guard is needed."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.races.world import MISSING, Fault

LONGEST_S = 120
"""A race that is not over by then hangs."""
Scenario = Callable[..., Awaitable[None]]


def race(*guards: str) -> Callable[[Scenario], Any]:
    """Run the scenario as it is, and once without each guard, expecting a Fault.

    A guard is a name in tests/races/guards. Ids read `[guarded]` and `[without <guard>]`.
    """

    def decorate(scenario: Scenario) -> Any:  # noqa: ANN401 - what pytest's decorators return
        async def test(**fixtures: Any) -> None:  # noqa: ANN401 - pytest's fixtures
            guard = fixtures.pop("guard")
            async with asyncio.timeout(LONGEST_S):
                if guard is None:
                    await scenario(**fixtures)
                    return
                MISSING.set(guard)
                with pytest.raises(Fault):
                    await scenario(**fixtures)

        test.__name__ = test.__qualname__ = scenario.__name__
        test.__doc__, test.__module__ = scenario.__doc__, scenario.__module__
        signature = inspect.signature(scenario)
        guard = inspect.Parameter("guard", inspect.Parameter.KEYWORD_ONLY)
        parameters = [one.replace(kind=one.KEYWORD_ONLY) for one in signature.parameters.values()]
        test.__signature__ = signature.replace(parameters=[guard, *parameters])  # type: ignore[attr-defined]
        test.pytestmark = getattr(scenario, "pytestmark", [])  # type: ignore[attr-defined]
        ids = ["guarded", *(f"without {name}" for name in guards)]
        return pytest.mark.parametrize("guard", [None, *guards], ids=ids, indirect=True)(test)

    return decorate
