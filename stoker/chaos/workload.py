"""What chaos must know of a domain: how to fill it, how to change it, and what a reader must then see.

An adopter writes one such object beside the domain and names it with `--workload module:name`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from stoker import Domain, Receipt, SettingsError, Stoker


@dataclass(frozen=True)
class Probe:
    """One entry that readers read, as `Stoker.read` takes it."""

    view: str
    scope_id: int | str
    params: Mapping[str, Any] | None = None
    reader: int | str | None = None

    def __str__(self) -> str:
        return f"{self.view} of {self.scope_id} {dict(self.params or {})}"


@dataclass(frozen=True)
class Change:
    """A committed change.

    `shows`: revisions by subject, a name of the workload's own choice such as `order:7/page`. From the moment
    the change is applied, whatever shows a subject must show at least that revision of it.
    """

    receipt: Receipt
    shows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Revocation:
    """A reader has lost a right for good: from now on, and for ever, these may not be shown to them."""

    receipt: Receipt
    refused: Sequence[Probe]


class ChaosWorkload(Protocol):
    """A domain under chaos."""

    domain: str
    """The package whose `domain` it is, as in the setting."""

    async def prepare(self, database_url: str, seed: int) -> None:
        """Fill an empty, migrated database; small: every entry is compared with SQL at the end."""

    async def probes(self, stoker: Stoker) -> Sequence[Probe]:
        """The entries that readers read, the most popular first. They must be readable all the time."""

    async def change(self, stoker: Stoker, rng: Random) -> Change:
        """Change something in one transaction, with its event. Called concurrently, in several processes."""

    async def revoke(self, stoker: Stoker, number: int) -> Revocation | None:
        """Give a reader a right, read with it, and take it away; nothing else ever gives it back.

        Every number comes once. Returns when the revocation is in effect; None where everybody may read
        everything. While it cannot be known to be in effect it raises, as the domain does.
        """

    def shows(self, probe: Probe, value: Any) -> Mapping[str, int]:  # noqa: ANN401 - each view's own shape
        """Which subjects a value shows, at which revisions."""

    def older(self, domain: Domain) -> Domain:
        """The domain as the release before this one knew it: without some view and some event."""


def load_workload(name: str) -> ChaosWorkload:
    """The workload that `module:name` names; raises SettingsError."""
    module, _, attribute = name.partition(":")
    try:
        found: ChaosWorkload = getattr(importlib.import_module(module), attribute or "workload")
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"workload {name!r} cannot be imported: {error}") from error
    return found
