"""What must hold in every interleaving, said without the protocol's own means: versions of rows, and steps.

An event is applied from the step on in which the relay's unlink was carried out, or its settling was seen;
with terms, from its settling on, or from the return of whoever unlinked without a relay.
The floor of an entry at a step is the last version that changed it and whose event was applied by then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stoker import EntryKey, State
from tests.explore.domain import State as DomainState
from tests.explore.domain import value
from tests.explore.rows import Rows
from tests.explore.search import Violation


@dataclass(eq=False)
class Read:
    """One read. `begun`: the step that was its first. `within`: the folder that it asks in.

    `excused`: nothing is promised of it (docs/decisions/0025, what terms do not cover).
    """

    actor: str
    process: str
    key: EntryKey
    reader: int
    guard: EntryKey | None
    begun: int | None = None
    within: int | None = None
    excused: bool = False

    def of(self, state: DomainState) -> Any:  # noqa: ANN401 - each view has a shape of its own
        """What it asks for; None where there is none, in that folder."""
        found = value(state, self.key)
        return found if self.within is None or (found is not None and found["in"] == self.within) else None


@dataclass
class Shown:
    """What a read came to: a value with its state, or the name of what was raised."""

    state: State | None = None
    value: Any = None
    raised: str = ""

    def __str__(self) -> str:
        return self.raised or f"{self.state} {self.value}"


@dataclass
class Promises:
    """The promises of docs/architecture.md for one run."""

    rows: Rows
    builds: dict[str, int] = field(default_factory=dict)
    """Lease -> the step in which it was last won."""

    def floor(self, key: EntryKey, at: int, *, hard: bool = False) -> int:
        """The oldest version of an entry that may still be shown to a read that begins at that step."""
        versions = self.rows.versions
        return max(
            (
                event.version
                for event in self.rows.events
                if event.applied_at is not None
                and event.applied_at < at
                and (event.hard or not hard)
                and event.version > 0
                and value(versions[event.version], key) != value(versions[event.version - 1], key)
            ),
            default=0,
        )

    def judge(self, read: Read, shown: Shown) -> None:
        """A read is over; raises Violation."""
        if read.excused:
            return
        begun = read.begun if read.begun is not None else len(self.rows.stage.trace)
        floor = self.floor(read.key, begun, hard=shown.state is State.STALE)
        allowed = [read.of(state) for state in self.rows.versions[floor:]]
        seen = f"{read.actor} began to read {read.key} at step {begun} and "
        if read.within is not None and read.guard is not None:
            gone = self.floor(read.guard, begun)
            allowed += [None for state in self.rows.versions[gone:] if value(state, read.guard) is None]
        if shown.state is not None and shown.value not in allowed:
            older = (
                "was shown a value that a hard change had taken away"
                if shown.state is State.STALE
                else "was shown"
            )
            raise Violation(f"{seen}{older} {shown.value!r} ({shown.state}); right are {allowed}")
        if shown.raised == "LoaderError" and read.process not in self.rows.failing:
            raise Violation(f"{seen}failed, though its loaders do not")
        if shown.raised == "NotFound" and None not in allowed:
            raise Violation(f"{seen}was told that there is none; right are {allowed}")
        if read.guard is not None:
            self._judge_access(read, read.guard, shown, begun, seen)

    def _judge_access(self, read: Read, guard: EntryKey, shown: Shown, begun: int, seen: str) -> None:
        versions = self.rows.versions
        let = [str(read.reader) in (value(state, guard) or {}) for state in versions]
        floor = self.floor(guard, begun)
        if shown.raised == "Forbidden" and all(let[floor:]):
            raise Violation(f"{seen}was refused, though always permitted since")
        if shown.state is None:
            return
        if not any(let[floor:]):
            raise Violation(f"{seen}was let in, though the removal was applied before")
        # Not even a read that was under way may show what was written after the removal was applied.
        written = self._written(read.key, shown.value)
        removed = self.floor(guard, written)
        if not any(let[removed:]):
            raise Violation(
                f"{seen}was shown {shown.value!r}, written at step {written}: after the removal was applied"
            )
        # Nor may one that waited until its reader was let in show what was replaced before that.
        if shown.state in (State.HIT, State.MISS):
            let_in = self.rows.committed_at[floor + let[floor:].index(True)]
            current = [read.of(state) for state in versions[self.floor(read.key, max(begun, let_in)) :]]
            if shown.value not in current:
                raise Violation(
                    f"{seen}was shown {shown.value!r}, though it was let in at step {let_in}, after that was"
                    f" replaced by one of {current}"
                )

    def _written(self, key: EntryKey, shown: object) -> int:
        found = [
            at
            for state, at in zip(self.rows.versions, self.rows.committed_at, strict=True)
            if value(state, key) == shown
        ]
        return found[0] if found else -1

    def slept(self, read: Read, lease: str, key: EntryKey) -> None:
        """A reader waits for the holder of a lease; raises Violation if that build was doomed before."""
        if read.begun is None:
            return
        doomed = self.floor(key, read.begun)
        applied = max((one.applied_at or 0 for one in self.rows.events if one.version == doomed), default=0)
        if doomed and self.builds.get(lease, -1) < applied:
            raise Violation(
                f"{read.actor} began at step {read.begun} and waits for a build of {key} that began before a "
                f"change of it was applied at step {applied}: it can come to nothing"
            )

    def stored(self, entry: bytes, under: list[bytes], in_force: list[bytes | None]) -> None:
        """An entry was stored; raises Violation if it can never be served: it may displace one that can."""
        if in_force != under:
            raise Violation(f"{entry.decode()} was stored under stamps that are not in force")

    def kept(self, where: str, key: EntryKey, body: object, *, rest: bool) -> None:
        """An entry is valid at rest; `rest`: and every event is applied. Raises Violation."""
        floor = len(self.rows.versions) - 1 if rest else self.floor(key, len(self.rows.stage.trace))
        allowed = [value(state, key) for state in self.rows.versions[floor:]]
        if body not in allowed:
            raise Violation(f"{where} keeps {body!r} for {key}; right are {allowed}")
