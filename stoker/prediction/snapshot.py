"""Stores and restores what prediction has learnt, as bytes that any release can refuse.

A state of another format, or of other features, is not restored: prediction then begins anew, with the
default plan in force.
"""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

from pydantic_core import from_json, to_json

from stoker.prediction.budget import Budget
from stoker.prediction.calibration import Level
from stoker.prediction.contest import Contender, Hour, Judgement
from stoker.prediction.features import BINS, SIZES
from stoker.prediction.live import Counted, Live
from stoker.prediction.predictor import Example

FORMAT = 1


def dump(live: Live) -> bytes:
    """Everything that `load` needs."""
    predictor, contest = live.predictor, live.contest
    return to_json(
        {
            "format": FORMAT,
            "features": SIZES,
            "now": live.now,
            "activities": predictor.activities.state(),
            "weights": predictor.regression.weights,
            "squares": predictor.regression.squares,
            "calibration": predictor.calibration.levels,
            "examples": [
                [entry, one.bins, one.weight, one.probability, one.ends]
                for entry, some in predictor.open.items()
                for one in some
            ],
            "contenders": {name: _contender(one) for name, one in contest.contenders.items()},
            "real": _contender(live.real),
            "begun": contest.begun,
            "judgement": contest.judgement,
            "counted": vars(live.counted),
            "unread": [[entry, one.until, one.cost_s] for entry, one in live.unread.items()],
        }
    )


def load(live: Live, stored: bytes) -> bool:
    """Restore a fresh `live`; False, and nothing restored, where these bytes cannot be used."""
    try:
        state = from_json(stored)
        if state["format"] != FORMAT or state["features"] != SIZES or len(state["weights"]) != BINS:
            return False
        _restore(live, state)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        live.__post_init__()
        return False
    return True


def _restore(live: Live, state: dict[str, Any]) -> None:
    predictor, contest = live.predictor, live.contest
    live.now = float(state["now"])
    if not math.isfinite(live.now):
        raise ValueError("no time")
    predictor.activities.restore(state["activities"])
    predictor.regression.weights[:] = map(float, state["weights"])
    predictor.regression.squares[:] = map(float, state["squares"])
    predictor.calibration.levels = [Level(*one) for one in state["calibration"]]
    for entry, bins, weight, probability, ends in state["examples"]:
        predictor.wait_for(entry, Example(tuple(bins), weight, probability, ends))
    for name, one in contest.contenders.items():
        _restore_contender(one, state["contenders"][name])
    _restore_contender(live.real, state["real"])
    contest.begun = float(state["begun"])
    contest.judgement = Judgement(*state["judgement"])
    live.goes_on()
    live.counted = Counted(**state["counted"])
    for entry, until, cost_s in state["unread"]:
        live.waits(entry, until, cost_s)


def _contender(one: Contender) -> dict[str, Any]:
    return {
        "until": [[entry, until] for entry, until in one.until.items()],
        "hours": [[hour, *astuple(found)] for hour, found in one.hours.items()],
        "budget": _budget(one.budget),
    }


def _budget(budget: Budget | None) -> Any:  # noqa: ANN401 - JSON
    return budget.state() if budget is not None else None


def _restore_contender(one: Contender, state: dict[str, Any]) -> None:
    one.until = {entry: float(until) for entry, until in state["until"]}
    one.hours = {int(hour): Hour(*found) for hour, *found in state["hours"]}
    if one.budget is not None:
        one.budget.restore(state["budget"])
