"""Claims on jobs: each is owned by a process; three Lua scripts make, renew, end and rescue them.

Never decides how a job ends. When the queue Redis does not answer, every call raises QueueUnavailable and may
be repeated: a claim is given back only by its owner or after it has expired.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from stoker.jobs import LANES
from stoker.numbers import real, whole
from stoker.queue import wire
from stoker.queue.enqueue import CANCEL, TOKEN_MS, WISH_MS
from stoker.queue.prelude import PRELUDE
from stoker.redis.queue import Argument, QueueConnection
from stoker.redis.script import Script
from stoker.settings import QueueSettings

CLAIM = Script("stoker.worker.engine", "claim", PRELUDE)
FINISH = Script("stoker.worker.engine", "finish", PRELUDE)
UPKEEP = Script("stoker.worker.engine", "upkeep", PRELUDE)

MARK_MS = 86_400_000
"""Life of `arq:in-progress:<id>`. It names the owner past the claim's own deadline, so that a worker that was
cut off from Redis finds its claims again; rescue and end delete it."""
RESCUES_MS = 86_400_000
"""For how long it is remembered that a job was running when its worker died."""
SUSPECT_RESCUES = 2
"""A job that was running this often when its worker died is a suspect: it runs without other suspects in its
process, so that it alone is blamed for the next death. One death makes no suspect: hosts lose power."""
NO_RATES: Mapping[str, float] = MappingProxyType({})
FAR_MS = 10 * 365 * 86_400_000
"""How far in the future a parked or running job is due, so that it stays in its lane's zset unclaimed."""
MOST_SLOTS = 1000
"""The highest concurrency of a lane in one process, whatever has been written to Redis."""
LONGEST_WAIT_S = 10 * 365 * 86_400.0
"""A longer wait is ignored: Stoker writes no such score."""


@dataclass(frozen=True)
class Claim:
    """One job that this process may run."""

    job_id: str
    payload: bytes | None
    """None: it expired before anybody ran it."""
    due_ms: float
    failed_runs: int
    rescues: int
    waited_s: float
    """From when it was due until it was claimed, by the server's clock."""
    aborted: bool = False
    """A stock arq client has aborted it: it must not run."""


@dataclass(frozen=True)
class Claimed:
    """The result of one call for work."""

    claims: Sequence[Claim]
    next_due_s: float | None
    """Seconds until the lane's next job may begin; zero or less: now. None: there is none."""


class Ending(StrEnum):
    """What happens to a claimed job in Redis."""

    REMOVE = "remove"
    AGAIN = "again"
    """Back to its lane; no try used."""
    RETRY = "retry"
    """Back to its lane; one try used."""
    POSTPONE = "postpone"
    """Back to its lane; no try used. Requests that join it do not bring it forward."""
    PARK = "park"


@dataclass(frozen=True)
class Finish:
    """The end of one claim."""

    lane: str
    job_id: str
    ending: Ending
    delay_s: float = 0
    flag: str = ""
    """Digest of its coalesce key."""
    totals: tuple[str, ...] = ()
    """Fields of the lane's totals that it counts in."""
    state: str = ""
    """The state that its progress shows from now on, if it is followed; empty: unchanged."""
    error: str = ""
    fair: str = ""
    """Its fair key as the payload has it."""
    run: int = 1
    """The number of the run that ends."""
    result: bytes = b""
    """What a stock arq client gets as the job's result; empty: none is kept."""
    result_s: float | None = None
    """Seconds that it is kept; None: for ever."""
    unrepeated_s: float | None = None
    """Seconds in which no worker may run the job's id again."""


@dataclass(frozen=True)
class LaneNews:
    """What upkeep found in one lane."""

    next_due_s: float | None
    lost: Sequence[str]
    """Ids that this process ran, but another worker has now."""
    rescued: Mapping[str, int]
    """Ids given back for dead workers, and how often each has been."""
    parked: int
    slots: int | None
    """Concurrency that an operator has set; None: what the settings say."""
    cancel: Sequence[str]
    """Ids of this process that are to be cancelled, and rescued ones whose worker died before cancelling
    them."""


NO_NEWS = LaneNews(None, (), {}, 0, None, ())


@dataclass(frozen=True)
class Claims:
    """The claims of one process."""

    connection: QueueConnection
    settings: QueueSettings
    lanes: Sequence[str] = LANES
    life_s: float = 6
    """Seconds that a claim lasts unless renewed: a killed worker's jobs run again soon after."""
    owner: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}")

    async def claim(
        self,
        lane: str,
        slots: int,
        *,
        rate_per_s: float = 0,
        fair_cap: int = 0,
        kind_rates: Mapping[str, float] = NO_RATES,
        parked_kinds: Collection[str] = (),
    ) -> Claimed:
        """Take up to `slots` due jobs; with `parked_kinds`, parked jobs of these kinds instead.

        All workers together take at most `rate_per_s` a second, and run at most `fair_cap` jobs of one fair
        key at once; zero: as many as there are. `kind_rates`: the same for kinds, by `wire.rate_mark`.
        """
        rates = [part for mark, per_s in kind_rates.items() for part in (mark, str(per_s))]
        kinds = f" {' '.join(sorted(parked_kinds))} " if parked_kinds else ""
        found = await self.connection.call(
            CLAIM,
            wire.queue_name(self.settings, lane),
            self.owner,
            slots,
            *self._lives,
            SUSPECT_RESCUES,
            kinds,
            str(rate_per_s),
            fair_cap,
            *rates,
        )
        return read_claimed(found)

    async def finish(self, ends: Sequence[Finish]) -> list[bool]:
        """End claims in one call; False where the claim was lost and nothing was changed."""
        arguments: list[Argument] = [
            self.owner,
            self.settings.expires_s * 1000,
        ]
        for end in ends:
            arguments += [
                wire.queue_name(self.settings, end.lane),
                end.job_id.encode(errors="surrogateescape"),
                end.ending,
                max(0, round(end.delay_s * 1000)),
                end.flag,
                " ".join(end.totals),
                end.state,
                end.error,
                end.fair,
                end.run,
                end.result,
                _milliseconds(end.result_s),
                _milliseconds(end.unrepeated_s),
            ]
        return [bool(kept) for kept in await self.connection.call(FINISH, *arguments)]

    async def upkeep(self, held: Mapping[str, Sequence[str]], *, rescue: bool) -> dict[str, LaneNews]:
        """Renew what this process holds and, if asked, rescue expired claims of others."""
        if not any(held.values()) and await self._is_idle(held):
            return dict.fromkeys(held, NO_NEWS)
        now_ms, *found = await self.connection.call(UPKEEP, *self.upkeep_arguments(held, rescue=rescue))
        return {lane: read_news(reply, now_ms) for lane, reply in zip(held, found, strict=True)}

    def upkeep_arguments(self, held: Mapping[str, Sequence[str]], *, rescue: bool) -> list[Argument]:
        """What upkeep.lua takes after the prefix."""
        arguments: list[Argument] = [self.owner, *self._lives, int(rescue), RESCUES_MS]
        for lane, ids in held.items():
            name = wire.queue_name(self.settings, lane)
            arguments += [name, len(ids), *(job_id.encode(errors="surrogateescape") for job_id in ids)]
        return arguments

    async def _is_idle(self, lanes: Iterable[str]) -> bool:
        # One plain command: it is what an idle worker sends most.
        names = wire.queue_names(self.settings, lanes)
        running = [f"{name}:running" for name in names]
        batches = f"{self.settings.prefix}:batches"
        keys = (wire.concurrency_name(self.settings), wire.ABORTS, batches, *names, *running)
        return not await self.connection.command("EXISTS", *keys)

    async def cancel(self, job_id: str) -> None:
        """Remove a job that was rescued from a worker which died before it could cancel it."""
        asked = job_id.encode(errors="surrogateescape")
        await self.connection.call(
            CANCEL, asked, WISH_MS, TOKEN_MS, *wire.queue_names(self.settings, self.lanes)
        )

    @property
    def _lives(self) -> tuple[int, int]:
        return round(self.life_s * 1000), MARK_MS


def read_claimed(found: Sequence[Any]) -> Claimed:
    """Read the reply of claim.lua. Scores and counts may be anything that others have written to Redis."""
    now_ms, due = found[:2]
    return Claimed([_claim(one, now_ms) for one in found[2:]], _seconds_until(due, now_ms))


def read_news(found: Sequence[Any], now_ms: float) -> LaneNews:
    """Read one lane of the reply of upkeep.lua, with the same caution."""
    due, lost, rescued, parked, slots, cancel = found
    return LaneNews(
        next_due_s=_seconds_until(due, now_ms),
        lost=[_id(one) for one in lost],
        rescued={_id(one): count for one, count in zip(rescued[::2], rescued[1::2], strict=True)},
        parked=parked,
        slots=read_slots(slots),
        cancel=[_id(one) for one in cancel],
    )


def read_slots(found: Any) -> int | None:  # noqa: ANN401 - what somebody has written
    """The concurrency that an operator has set; None if there is none or it is no number above zero."""
    return whole(found, most=MOST_SLOTS) or None


def _claim(found: Sequence[Any], now_ms: float) -> Claim:
    job_id, payload, due, failed_runs, rescues, aborted = found
    due_ms = real(due, most=now_ms, default=now_ms)
    waited_s = (now_ms - due_ms) / 1000
    return Claim(
        job_id=_id(job_id),
        payload=payload,
        due_ms=due_ms,
        failed_runs=failed_runs,
        rescues=rescues,
        waited_s=waited_s if waited_s < LONGEST_WAIT_S else 0.0,
        aborted=bool(aborted),
    )


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else str(max(1, round(seconds * 1000)))


def _id(found: bytes) -> str:
    return found.decode(errors="surrogateescape")


def _seconds_until(due: Any, now_ms: float) -> float | None:  # noqa: ANN401 - a score
    return (real(due, default=now_ms) - now_ms) / 1000 if due else None
