"""What prediction does, for operators: budget, spending, waste, which way of choosing is in force and why."""

from __future__ import annotations

from pydantic import BaseModel

from stoker.prediction.calibration import Calibration
from stoker.prediction.live import Live


class ContenderFigures(BaseModel):
    """One way of choosing, replayed beside the others over the last day at the same budget."""

    misses: int
    missed_s: float
    """Loading that readers waited for."""
    spent_s: float


class LevelFigures(BaseModel):
    """Predictions between two tenths: their mean, the share of them that was read, what they count as now."""

    examples: int
    predicted: float
    read: float
    counts_as: float


class PredictionFigures(BaseModel):
    """The predictor now. Seconds are of loading; `spent_s` and what follows count from the beginning."""

    in_force: str
    why: str
    held_back: str | None
    """Why nothing is warmed although it was chosen; None: what is chosen is warmed."""
    budget_s: float
    """A minute."""
    threshold: float
    """The score from which entries are warmed: a probability, or a decayed count."""
    known_entries: int
    known_readers: int
    may_be_warmed: int
    allowed_s: float
    """What the budget would have allowed."""
    spent_s: float
    wasted_s: float
    """Of these, for entries that nobody read before they expired or changed."""
    warmed: int
    used: int
    """Of these, read in time: misses that were avoided."""
    contest: dict[str, ContenderFigures]
    calibration: list[LevelFigures]
    """By tenths of the probability before it is corrected; those without examples are left out."""

    @property
    def used_share(self) -> float | None:
        """The share of warmed entries that were read in time; None before any was."""
        return self.used / self.warmed if self.warmed else None


def figures_of(live: Live, may: int, held_back: str | None = None) -> PredictionFigures:
    """The figures of a state."""
    counted, judgement = live.counted, live.contest.judgement
    days = {name: one.last_day(live.now) for name, one in live.contest.contenders.items()}
    return PredictionFigures(
        in_force=judgement.in_force,
        why=judgement.why,
        held_back=held_back,
        budget_s=live.rate * 60,
        threshold=live.budget.threshold,
        known_entries=len(live.predictor.activities),
        known_readers=len(live.predictor.activities.last_by_reader),
        may_be_warmed=may,
        allowed_s=round(counted.planned_s, 3),
        spent_s=round(counted.spent_s, 3),
        wasted_s=round(counted.wasted_s, 3),
        warmed=counted.warmed,
        used=counted.used,
        contest={
            name: ContenderFigures(
                misses=one.misses, missed_s=round(one.missed_s, 3), spent_s=round(one.spent_s, 3)
            )
            for name, one in days.items()
        },
        calibration=_levels(live.predictor.calibration),
    )


def _levels(calibration: Calibration) -> list[LevelFigures]:
    corrected = calibration.curve()
    return [
        LevelFigures(
            examples=round(one.examples),
            predicted=round(one.predicted / one.examples, 4),
            read=round(one.read / one.examples, 4),
            counts_as=round(corrected(one.predicted / one.examples), 4),
        )
        for one in calibration.levels
        if one.examples
    ]
