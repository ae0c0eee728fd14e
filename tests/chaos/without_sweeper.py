"""A worker under chaos whose sweeper does nothing: events are applied only after a ring."""

from __future__ import annotations

from stoker.chaos.process import main
from stoker.worker.sweeper import Sweeper


async def rest(self: Sweeper) -> None:
    """Nothing."""


if __name__ == "__main__":
    Sweeper.sweep = rest  # type: ignore[method-assign]
    main()
