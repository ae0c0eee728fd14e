"""Records when keys are deleted from a Redis, by keyspace events instead of polling.

Times are wall time in nanoseconds: the clock that this host's Postgres has, too.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time

from redis import Redis

from bench.peers.protocol import serve

DELETED = "__keyevent@*__:del"
"""DEL and UNLINK both say this."""


class Watcher:
    """Collects deletions: key -> when it was first seen to be deleted."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)
        self._redis.config_set("notify-keyspace-events", "Eg")
        self._heard = self._redis.pubsub()  # type: ignore[no-untyped-call]
        self._heard.psubscribe(DELETED)
        self._heard.parse_response()
        self._lock = threading.Condition()
        self._seen: dict[str, int] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._seen = {}

    def wait(self, count: int, timeout_s: float) -> dict[str, int]:
        """What was deleted, as soon as it is that much."""
        with self._lock:
            self._lock.wait_for(lambda: len(self._seen) >= count, timeout_s)
            return dict(self._seen)

    def _listen(self) -> None:
        while True:
            message = self._heard.parse_response()
            now = time.time_ns()
            with self._lock:
                self._seen.setdefault(message[3].decode(errors="replace"), now)
                self._lock.notify()


def main() -> None:
    """Watch the Redis whose URL is the only argument."""
    watcher = Watcher(sys.argv[1])

    async def forget() -> None:
        watcher.forget()

    async def seen(count: int, timeout_s: float) -> dict[str, int]:
        return await asyncio.to_thread(watcher.wait, count, timeout_s)

    serve(forget=forget, seen=seen)


if __name__ == "__main__":
    main()
