"""A process under chaos in which nobody asks who may see what: whoever was removed is still shown it."""

from __future__ import annotations

from jobs.cache.read import Cache
from worker.chaos.process import main


def install() -> None:
    """Let no entry have a guard."""
    Cache._guard = lambda *_: None  # type: ignore[method-assign]


if __name__ == "__main__":
    install()
    main()
