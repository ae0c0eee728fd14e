"""Names of everything the cache keeps in Redis.

All keys of a scope share a hash tag, hence a cluster slot. Stamp keys carry no version: two releases that
run together must unlink each other's stamps. No user input enters a key raw: ids are validated, parameters
are digested.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from pydantic_core import from_json, to_json

from stoker.cache.envelope import FORMAT
from stoker.cache.view import EntryKey, Scope


class EntryNames(NamedTuple):
    """The keys of one entry. `check` is embedded in the envelope and compared on every read (RACES 24).

    `alone`: no other entry shares its soft stamp, because the view takes no parameters.
    """

    stamp: str
    hard: str
    entry: str
    lease: str
    check: bytes
    alone: bool


class KeySpace:
    """Keys under `<prefix>.<installation id>`: another database never meets these entries (RACES 42)."""

    def __init__(self, prefix: str, installation: str) -> None:
        self.root = f"{prefix}.{installation}"

    def stamp(self, scope: Scope, view: str) -> str:
        """The soft stamp of one view of a scope."""
        return f"{self.root}:{{{scope.kind}:{scope.id}}}:stamp:{view}"

    def hard(self, scope: Scope) -> str:
        """The hard stamp of a scope."""
        return f"{self.root}:{{{scope.kind}:{scope.id}}}:stamp:hard"

    def entry(self, key: EntryKey, version: int | str = 1) -> EntryNames:
        """The names of an entry; `version` is its view's `layout`."""
        # The envelope's format and the view's layout are part of the name, so that two releases keep
        # separate entries instead of overwriting each other's.
        name = f"{self.root}:{{{key.scope.kind}:{key.scope.id}}}:{key.view}"
        if (FORMAT, version) != (1, 1):
            name += f".{FORMAT}.{version}"
        if key.params:
            name += ":" + blake2b(key.params.encode(), digest_size=16).hexdigest()
        return EntryNames(
            stamp=self.stamp(key.scope, key.view),
            hard=self.hard(key.scope),
            entry=name,
            lease=name + ":lease",
            check=blake2b(name.encode(), digest_size=8).digest(),
            alone=not key.params,
        )

    def counters(self, view: str) -> str:
        """The hash of a view's counters."""
        return f"{self.root}:counters:{{{view}}}"

    def verdicts(self, day: str) -> str:
        """The hash of a day's verdicts of the verifier."""
        return f"{self.root}:verdicts:{day}"

    @property
    def nonce(self) -> str:
        """Which nonce identifies the run of a server that shows no run id (stoker/redis/run.py)."""
        return f"{self.root}:run"

    @property
    def reads(self) -> str:
        """The sorted set of recently read entries, scored by the time of their last read."""
        return f"{self.root}:{{reads}}:last"

    @property
    def visits(self) -> str:
        """The sorted set of who has read what, scored by the time of the last read (cache/visits.py)."""
        return f"{self.root}:{{reads}}:visits"

    @property
    def changed(self) -> str:
        """The sorted set of what was invalidated, scored by when (cache/visits.py)."""
        return f"{self.root}:{{reads}}:changed"

    @property
    def heat(self) -> str:
        """The sorted set of the entries that are read most; reads.lua says what its scores mean."""
        return f"{self.root}:{{reads}}:heat"


def write_key(key: EntryKey) -> bytes:
    """An entry's key as a member of the sorted sets."""
    return to_json([key.view, key.scope.kind, key.scope.id, key.params])


def parse_key(member: bytes) -> EntryKey | None:
    """The inverse of `write_key`; None for anything else."""
    try:
        view, kind, scope_id, params = from_json(member)
    except (ValueError, TypeError):
        return None
    if not all(isinstance(part, str) for part in (view, kind, scope_id, params)):
        return None
    return EntryKey(view, Scope(kind, scope_id), params)
