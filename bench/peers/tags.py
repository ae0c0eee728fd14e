"""Invalidation by tag in cashews: it keeps a set of keys for each tag, and deletes what the set names.

Argument: cache URL.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from bench.peers.caches import LIFE_S, setup_cashews
from bench.peers.protocol import serve


def main() -> None:
    """Answer the driver: `keep` entries under a tag, then `drop` the tag."""
    made: list[Any] = []

    async def open_() -> None:
        from cashews import Cache  # type: ignore[import-not-found] # noqa: PLC0415 - lives in .bench-venv

        made.append(Cache())
        setup_cashews(made[0], sys.argv[1])

    async def keep(keys: list[str], value: str, tag: str) -> None:
        for key in keys:
            await made[0].set(key, value, expire=LIFE_S, tags=[tag])

    async def drop(keys: list[str], tag: str) -> float:
        started = time.perf_counter()
        await made[0].delete_tags(tag)
        took = time.perf_counter() - started
        if await made[0].get(keys[0]) is not None or await made[0].get(keys[-1]) is not None:
            raise LookupError(f"{tag} was not dropped")
        return took

    serve(open=open_, keep=keep, drop=drop)


if __name__ == "__main__":
    main()
