"""A worker under chaos that never rescues: the jobs of killed workers stay where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stoker.chaos.process import main
from stoker.worker.engine.claims import Claims, LaneNews

UPKEEP = Claims.upkeep


async def selfish(self: Claims, held: Mapping[str, Sequence[str]], **_: bool) -> dict[str, LaneNews]:
    """Upkeep of its own claims."""
    return await UPKEEP(self, held, rescue=False)


if __name__ == "__main__":
    Claims.upkeep = selfish  # type: ignore[method-assign]
    main()
