"""A process under chaos that waits for no term before a change counts as applied."""

from __future__ import annotations

from stoker.chaos.process import main
from stoker.outbox.term import CacheTerm


async def at_once(self: CacheTerm, connection: object = None) -> None:
    """Nothing."""


if __name__ == "__main__":
    CacheTerm.over = at_once  # type: ignore[method-assign]
    main()
