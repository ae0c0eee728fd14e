"""One web process whose readers read cached dashboards as fast as they can.

`python -m bench.peers.term_reader`; the environment names the servers.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.blocks import rate
from bench.pages import Page
from bench.peers.protocol import serve
from bench.rows.hit_decoded import READERS, shared_by, walk_of
from stoker import Stoker


class _Site:
    def __init__(self) -> None:
        self._stoker: Stoker | None = None

    async def open(self) -> None:
        """As a web app opens it."""
        self._stoker = await Stoker.open()

    async def read(self, pages: Sequence[tuple[int, int]], seconds: float) -> int:
        """Read projects, each as its owner; how many reads were done."""
        assert self._stoker is not None
        read = shared_by(self._stoker, walk_of([Page(*one, b"") for one in pages]))
        reads = 0

        async def counted(number: int) -> None:
            nonlocal reads
            await read(number)
            reads += 1

        await rate(seconds, counted, readers=READERS)
        return reads


if __name__ == "__main__":
    site = _Site()
    serve(open=site.open, read=site.read)
