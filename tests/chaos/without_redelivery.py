"""A worker under chaos that delivers nothing again that the queue has lost."""

from __future__ import annotations

from stoker.chaos.process import main
from stoker.handlers import deliver
from stoker.stoker import Stoker


async def nothing(stoker: Stoker) -> int:
    """Reset nothing."""
    del stoker
    return 0


if __name__ == "__main__":
    deliver.reset_lost = nothing
    main()
