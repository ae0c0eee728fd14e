"""A worker under chaos that never renews a claim: what runs longer than a claim is taken from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stoker.chaos.process import main
from stoker.worker.engine.claims import Claims, LaneNews

UPKEEP = Claims.upkeep


async def forgetful(self: Claims, held: Mapping[str, Sequence[str]], **options: bool) -> dict[str, LaneNews]:
    """Upkeep that claims to hold no job."""
    return await UPKEEP(self, {lane: [] for lane in held}, **options)


if __name__ == "__main__":
    Claims.upkeep = forgetful  # type: ignore[method-assign]
    main()
