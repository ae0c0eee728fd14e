"""A process under chaos that waits for no term before a change counts as applied."""

from __future__ import annotations

from stoker.chaos.process import main
from stoker.outbox.term import CacheTerm


async def at_once(*_: object) -> None:
    """Nothing."""


if __name__ == "__main__":
    CacheTerm.over = at_once  # type: ignore[method-assign]
    main()
