"""A process of the herd: opens, says `ready`, waits for a line, reads one key many times, says its loads."""

from __future__ import annotations

import asyncio
import sys

from stoker import Stoker, load_settings
from tests.support.notes import Notes


async def main(readers: int) -> None:
    """Read note 1 that often at once."""
    notes = Notes()
    async with Stoker.opened(load_settings(), notes.domain) as stoker:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        readings = await asyncio.gather(*(stoker.read("detail", 1, reader=7) for _ in range(readers)))
        assert all(reading.value == {"body": "v1"} for reading in readings)
        sys.stdout.write(f"{notes.loads.get('detail', 0)} {notes.loads.get('access', 0)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
