"""What a run must know about a domain: its web app, its simulated users, and what a reader must see.

An adopter writes one such object beside the domain and names it with `--workload module:name`. The web app is
the application's own, with four conventions: the header `X-User` names the reader; `?bypass=1` reads past the
cache; `?wait=1` answers a write when it is in effect; a read's answer has `ETag` and `X-Cache` (the reading's
state). A write's answer is a JSON object with `transaction_id`, that of the receipt of `Stoker.applied`, and
`applied`; each write records something. Errors of Stoker are JSON objects with `error`, their class: 503 for
an outage, 403 or 404 for a refusal.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from stoker import Domain, SettingsError, Stoker
from stoker.chaos.client import Reply
from stoker.chaos.tally import Tally


@dataclass(frozen=True, slots=True)
class Read:
    """One request for an entry: what `Stoker.read` is asked, and the path by which the web app asks it."""

    view: str
    scope_id: int | str
    reader: int
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bypass(self) -> str:
        """The path of the same request past the cache."""
        return f"{self.path}{'&' if '?' in self.path else '?'}bypass=1"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on an answer.

    `stale`: why it is older than what was applied before its request. `forbidden`: what it shows although its
    reader had lost the right to it. `of_changed`: whether it had to show a change of this run.
    """

    stale: str | None = None
    forbidden: tuple[str, ...] = ()
    of_changed: bool = False


class Web(Protocol):
    """The web apps of a run, as users reach them; see `stoker.chaos.driver.Driver`."""

    tally: Tally

    async def send(self, method: str, path: str, reader: int = 0, *, body: object = None) -> Reply | None:
        """One request; None, counted, when there is no answer or only an error."""

    async def read(self, read: Read) -> None:
        """A read that must be served; judged."""

    async def intrude(self, read: Read) -> None:
        """A read that must be refused; judged."""

    def wrote(self, answer: Mapping[str, Any], due: float, began: float, applied: Callable[[], None]) -> None:
        """A write was acknowledged: call `applied` as soon as it is known to be in effect."""


class Users(Protocol):
    """Simulated users of one run, and what is known of what each must see.

    They know lower bounds only: a change counts from the moment its writer learned that it is applied. A
    write whose answer was lost counts for nothing.
    """

    def read(self) -> Read:
        """The next read that must be served."""

    def intrusion(self) -> Read | None:
        """The next read that must be refused; None while there is none."""

    async def edit(self, web: Web, due: float) -> None:
        """One change, told to `web.wrote`; `due`: when it was to be sent, by the performance counter."""

    def rights(self, reader: int) -> int:
        """A number that grows whenever a change of a reader's rights begins."""

    def expected(self, read: Read) -> Any:  # noqa: ANN401 - the users' own
        """What a read that is sent now must show; noted before it is sent."""

    def shown(self, read: Read, body: bytes) -> Any:  # noqa: ANN401 - the users' own
        """What a body shows."""

    def judge(self, read: Read, expected: Any, shown: Any) -> Verdict:  # noqa: ANN401 - the users' own
        """Compare the two."""

    def candidates(self, served: Iterable[Read]) -> Iterable[Read]:
        """Which entries to compare with SQL at the end, among those that were served and others."""


class Workload(Protocol):
    """A domain in a run."""

    domain: str
    """The package whose `domain` it is, as in the setting."""
    webapp: str
    """`module:name` of the ASGI app."""

    async def prepare(self, database_url: str, seed: int) -> None:
        """Fill an empty, migrated database; small: every entry is compared with SQL at the end."""

    async def users(self, stoker: Stoker, rng: Random) -> Users:
        """The users of one run."""

    def older(self, domain: Domain) -> Domain:
        """The domain as the release before this one knew it: without some view and some event."""


def load_workload(name: str) -> Workload:
    """The workload that `module:name` names; raises SettingsError."""
    if not name:
        raise SettingsError(
            "name the workload that drives your web app: --workload module:name (stoker.chaos.Workload)"
        )
    found: Workload = load(name, "workload")
    return found


def load(name: str, default: str) -> Any:  # noqa: ANN401 - whatever has that name
    """What `module:name` names; raises SettingsError."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute or default)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"{default} {name!r} cannot be imported: {error}") from error
