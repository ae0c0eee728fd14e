"""Hits of threads: what the process keeps near, within a term or after the thread itself has asked Redis.

To hand a hit to the event loop and wait for it costs two changes of threads, more than the hit. So threads
have a few connections of their own. Everything else goes to the loop: what is not kept near, not valid, due
for a refresh, or not named by the access entry; and whatever goes wrong here.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from time import perf_counter

from stoker.cache.lookup import Params, Plan, command
from stoker.cache.near import Near
from stoker.cache.read import Cache
from stoker.cache.reading import Reading
from stoker.cache.view import View
from stoker.errors import CacheUnavailable
from stoker.loop_thread import LoopThread
from stoker.redis.direct import FAILURES, DirectConnection
from stoker.redis.errors import ConnectionLost

MOST = 8
"""Connections of threads. A thread that finds none free goes to the loop."""


class DirectReads:
    """Hits of one process's threads."""

    def __init__(self, cache: Cache, loop: LoopThread) -> None:
        self._cache = cache
        self._client = cache.store.client
        self._lookup = cache.store.lookup
        self._loop = loop
        self._free: deque[DirectConnection] = deque()
        self._places = deque(range(MOST)) if self._client.can_lend else deque[int]()
        self._closed = False

    def hit(
        self, view: str | View, scope_id: object, params: Params, within: object, reader: object
    ) -> Reading | None:
        """The answer of `Cache.read` if it is a hit that a thread can read; None: ask the loop.

        Raises NotFound, Forbidden and BadRequest as `Cache.read` does.
        """
        if self._cache.breaker.open:
            return None
        began_s = perf_counter()
        plan = self._cache.plan(view, scope_id, params, within, reader=reader)
        reading = self._hit(plan, reader)
        if reading is not None:
            plan.times.append(perf_counter() - began_s)
        return reading

    def close(self) -> None:
        """Close the threads' sides of the connections; the client closes the others.

        A connection that is in use now is closed by the thread that uses it.
        """
        self._closed = True
        self._places.clear()
        with suppress(IndexError):
            while True:
                self._free.pop().close()

    def _hit(self, plan: Plan, reader: object) -> Reading | None:
        if (reading := self._cache.in_term(plan, reader)) is not None:
            self._cache.accounting.hit_in_thread(plan, reader)
            return reading
        kept = [self._lookup.near.peek(own.entry) for own in plan.names]
        if None in kept or (connection := self._take()) is None:
            return None
        return self._asked(connection, plan, kept, reader)

    def _asked(
        self, connection: DirectConnection, plan: Plan, kept: list[Near | None], reader: object
    ) -> Reading | None:
        packed, places = command(plan.names, (False,) * len(plan.names))
        asked_s = self._lookup.terms.now_s()
        try:
            values = connection.ask(packed)
        except BaseException as error:  # also a signal that ends a request: its reply is not read
            self._drop(connection)
            if isinstance(error, FAILURES):
                return None  # the loop's own attempt says what is wrong
            raise
        self._free.append(connection)
        if self._closed:  # looked at last: `close` may come at any point
            self.close()
        if isinstance(values, Exception):
            return None
        found = self._lookup.judged(plan.names, kept, places, values, connection.server)
        self._lookup.terms.grant(plan, found, asked_s)
        return self._cache.at_once(plan, found, reader)

    def _take(self) -> DirectConnection | None:
        try:
            return self._free.pop()
        except IndexError:
            pass
        try:
            place = self._places.pop()
        except IndexError:
            return None
        try:
            return self._loop.call(self._client.lend())
        except BaseException as error:
            self._places.append(place)
            if isinstance(error, CacheUnavailable):
                return None
            raise

    def _drop(self, connection: DirectConnection) -> None:
        connection.close()
        self._loop.soon(lambda: connection.lent.end(ConnectionLost("a thread has ended it")))
        self._places.append(0)
