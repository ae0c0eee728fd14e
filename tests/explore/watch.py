"""Watches every step of a run: when a read begins, when an event is applied, who holds which lease.

Says what else a step touches for the promises' sake: two steps commute only if no promise could tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stoker import Access, EntryKey
from tests.explore.domain import DOMAIN, folder
from tests.explore.promises import Promises, Read, Shown
from tests.explore.rows import Rows
from tests.explore.search import Footprint, Violation
from tests.explore.stage import Actor
from tests.explore.terms import TIME
from tests.explore.valkey import ReplyLost, Server


def guard_of(key: EntryKey, within: int | None = None) -> EntryKey | None:
    """The access entry that guards an entry, if one does; `within`: the folder that it is asked for in."""
    if within is not None:
        return EntryKey("readers", folder(within))
    return EntryKey("access", key.scope) if DOMAIN.view(key.view).access is Access.MEMBERS else None


class Watch:
    """What has been seen in one run; `violation` is the first promise that was broken.

    `leases` tells whose lease a key is; `noted` is what readers were shown.
    """

    def __init__(
        self, rows: Rows, server: Server, leases: Mapping[str, EntryKey], *, restarts: bool, terms: bool
    ) -> None:
        self.promises = Promises(rows)
        self.violation: Violation | None = None
        self.noted: list[str] = []
        self._rows = rows
        self._server = server
        self._leases = leases
        self._restarts = restarts
        self._terms = terms
        self._reads: dict[str, Read] = {}
        self._waits: dict[str, str] = {}

    def follow(self, actor: Actor) -> None:
        """Watch an actor's steps."""
        actor.touching = lambda what: self._touching(actor, what)
        actor.before = lambda: self._before(actor)
        actor.after = lambda what, result: self._after(actor, what, result)
        actor.asleep = lambda: self._asleep(actor)

    def begins(self, read: Read) -> None:
        """The actor's next step is the read's first."""
        self._reads[read.actor] = read

    def ends(self, read: Read, shown: Shown) -> None:
        """Judge what a read came to."""
        self._reads.pop(read.actor, None)
        self.noted.append(f"{read.actor} {read.key} {shown}")
        self._keep(lambda: self.promises.judge(read, shown))

    def _touching(self, actor: Actor, what: object) -> Footprint:
        read = self._reads.get(actor.name)
        touched: dict[str, str] = {}
        if read is not None and read.begun is None:
            touched["applied"] = "r"
        if not self._terms and self._is_unlink(actor, what):
            touched["applied"] = "a"
        if self._terms:
            touched[TIME] = "r"  # what comes after the step may read a clock
        if self._restarts:
            touched["server"] = "r"  # after the step, the next command is made for the server of that moment
        return touched

    def _before(self, actor: Actor) -> None:
        read = self._reads.get(actor.name)
        if read is not None and read.begun is None:
            read.begun = len(self._rows.stage.trace)
            read.excused = self._server.excuses(read.process)

    def _after(self, actor: Actor, what: object, result: object) -> None:
        if isinstance(result, ReplyLost):
            result = result.reply
        if not isinstance(what, list) or isinstance(result, Exception):
            return
        script = self._server.script(what)
        if self._is_unlink(actor, what):
            if not self._terms:  # with them, it is applied when it is settled
                self._rows.mark(self._rows.transactions[actor.name].claimed)
        elif script == "begin" and isinstance(result, list):
            lease = what[5].decode()
            if result[2]:
                self.promises.builds[lease] = len(self._rows.stage.trace) - 1
            else:
                self._waits[actor.name] = lease
        elif script == "store" and result == 1:
            in_force = [self._server.values.get(key) for key in what[3:5]]
            self._keep(lambda: self.promises.stored(what[5], what[7:9], in_force))

    def _is_unlink(self, actor: Actor, what: object) -> bool:
        return isinstance(what, list) and what[0] == b"UNLINK" and actor.name in self._rows.transactions

    def _asleep(self, actor: Actor) -> None:
        read, lease = self._reads.get(actor.name), self._waits.get(actor.name)
        key = self._leases.get(lease or "")
        if self._terms:
            return  # a change is applied some time after its unlink, which alone dooms a build
        if read is not None and lease is not None and key is not None:
            self._keep(lambda: self.promises.slept(read, lease, key))

    def _keep(self, check: Callable[[], None]) -> None:
        try:
            check()
        except Violation as violation:
            self.violation = self.violation or violation
