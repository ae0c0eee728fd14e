"""SIGTERM and SIGINT: the first one stops in order, the second one stops at once."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stop:
    """`asked`: stop in order. `now`: do not wait for running jobs."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    now: asyncio.Event = field(default_factory=asyncio.Event)

    def signalled(self, number: int) -> None:
        """Handle one signal."""
        log.info("process.signalled", extra={"signal": signal.Signals(number).name})
        (self.now if self.asked.is_set() else self.asked).set()


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """Signals set events for as long as this lasts; must run inside an event loop."""
    stop = Stop()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop.signalled, number)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
