"""A process under chaos that checks no access: removed members still see the pages."""

from __future__ import annotations

from stoker.cache.read import Cache
from stoker.chaos.process import main


def install() -> None:
    """Let no entry have a guard."""
    Cache._guard = lambda *_: None  # type: ignore[method-assign]


if __name__ == "__main__":
    install()
    main()
