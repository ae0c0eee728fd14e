"""Counts jobs inside the queue's own scripts, in the same atomic step, so that none is missed.

`install` is for the processes under chaos. `Ledger` belongs to the driver: it reads the counts from the queue
Redis in the same transaction as each fault that erases them. Nothing here changes the effect of a script.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis

from stoker.jobs import LANES, Lane
from stoker.redis.script import Script, digest_of

MARK = b":chaos:"
"""A mark in every script that has the audit already."""
OF_THE_CACHE = frozenset({"stoker.cache", "stoker.redis"})


def install() -> None:
    """Put the audit in front of every script of the queue that this process has loaded."""
    for module in list(sys.modules.values()):
        for name, script in list(vars(module).items() if module is not None else ()):
            if (
                isinstance(script, Script)
                and script.package not in OF_THE_CACHE
                and MARK not in script.source
            ):
                script.source = audited(script.source.decode(), name.lower()).encode()
                script.digest = digest_of(script.source)


def audited(source: str, name: str) -> str:
    """A script with the audit in front of it."""
    audit = files("stoker.chaos").joinpath("lua", "audit.lua").read_text().replace("SCRIPT", name)
    flags = ""
    if source.startswith("#!"):  # the shebang must stay the first line
        flags, _, source = source.partition("\n")
        flags += "\n"
    return f"{flags}{audit}\n{source}"


@dataclass(frozen=True)
class Rescue:
    """A claim that was taken from its owner because it had expired."""

    job_id: str
    owner_pid: int
    at: float
    """Seconds since 1970, by the queue's clock."""


@dataclass
class Ledger:
    """Every job of a run, and how it ended."""

    prefix: str
    lanes: Sequence[Lane] = LANES
    born: dict[str, bytes] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    """Erased with the queue, and not delivered again since."""
    lost: set[str] = field(default_factory=set)
    """Neither ended nor anywhere in the queue."""
    parked: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)
    rescues: list[Rescue] = field(default_factory=list)
    unborn: set[str] = field(default_factory=set)
    """In the queue, but enqueued by no script."""
    _ends_past: Counter[str] = field(default_factory=Counter)
    _ends_now: Counter[str] = field(default_factory=Counter)
    _past: Counter[str] = field(default_factory=Counter)
    _now: Counter[str] = field(default_factory=Counter)
    _rescues_seen: int = 0

    async def take(self, redis: Redis, *, then: tuple[str, ...] = ()) -> None:
        """Read everything in one transaction that ends with `then`, if given: FLUSHALL."""
        pipe: Any = redis.pipeline(transaction=True)
        pipe.hgetall(self._key("born")).hgetall(self._key("ended")).lrange(self._key("rescues"), 0, -1)
        for lane in self.lanes:
            queue = f"{self.prefix}:{lane}"
            for part in ("", ":running", ":parked"):
                pipe.zrange(queue + part, 0, -1)
            pipe.hgetall(f"{queue}:totals")
        if then:
            pipe.execute_command(*then)
        replies = await pipe.execute()
        self._learn(replies[:-1] if then else replies)
        if then:
            self.erase()

    def erase(self) -> None:
        """Open jobs and the engine's counts are lost with the data of the queue."""
        self.erased |= self.parked | self.waiting | self.running
        self.parked, self.waiting, self.running = set(), set(), set()
        self._past, self._now = self._past + self._now, Counter()
        self._ends_past, self._ends_now = self._ends_past + self._ends_now, Counter()
        self._rescues_seen = 0

    def totals(self) -> Counter[str]:
        """The engine's own totals over all lanes, added up over erasures."""
        return self._past + self._now

    def open(self) -> int:
        """Jobs that still may run."""
        return len(self.waiting) + len(self.running)

    def kinds(self, ids: set[str]) -> Mapping[str, int]:
        """Jobs by the kind of their job."""
        return Counter(str(json.loads(self.born[job_id]).get("f")) for job_id in ids if job_id in self.born)

    def arguments(self, job_id: str) -> Mapping[str, Any]:
        """What a job was asked to do."""
        found: Mapping[str, Any] = json.loads(self.born[job_id])["a"][0]
        return found

    def by_end(self) -> Counter[str]:
        """How many ends there were of each kind: a job that is delivered again may have two."""
        return self._ends_past + self._ends_now

    def _learn(self, replies: list[Any]) -> None:
        born, ended, rescues, *lanes = replies
        self.born |= {job_id.decode(): payload for job_id, payload in born.items()}
        ended_now = {job_id.decode(): how.decode() for job_id, how in ended.items()}
        self.ended |= ended_now
        self._ends_now = Counter(ended_now.values())
        self._learn_rescues(rescues)
        queued, self.running, self.parked = (_ids(lanes[part::4]) for part in range(3))
        self.waiting = queued - self.running - self.parked
        somewhere = queued | self.running | self.parked
        self.erased -= somewhere | self.ended.keys()
        self.lost |= self.born.keys() - self.ended.keys() - self.erased - somewhere
        self.unborn |= somewhere - self.born.keys()
        self._now = Counter()
        for totals in lanes[3::4]:
            self._now.update({name.decode(): int(value) for name, value in totals.items()})

    def _learn_rescues(self, lines: list[bytes]) -> None:
        for line in lines[self._rescues_seen :]:
            job_id, owner, at_ms = line.decode().rsplit(" ", 2)
            _host, pid, _token = owner.rsplit(":", 2) if owner.count(":") > 1 else ("", "0", "")
            self.rescues.append(Rescue(job_id, int(pid), int(at_ms) / 1000))
        self._rescues_seen = len(lines)

    def _key(self, name: str) -> str:
        return f"{self.prefix}:chaos:{name}"


def _ids(sets: list[list[bytes]]) -> set[str]:
    return {member.decode(errors="replace") for members in sets for member in members}
