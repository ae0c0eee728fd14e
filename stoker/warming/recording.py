"""Records a trace of a running installation: who read what and what changed, without names and contents.

Ids, parameters and readers become digests under a key that is drawn for each recording and kept nowhere:
nobody can tell from a trace who they were, and two traces cannot be joined. Kinds of scopes and names of
views stay as they are.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b

from stoker.cache.view import Scope
from stoker.cache.visits import Change, Position, Visit, changes_since, visits_since
from stoker.prediction.trace import TraceFile
from stoker.rules import EVERY_SCOPE
from stoker.stoker import Stoker
from stoker.warming.entries import Entries


class Recording:
    """One recording, from now on. `share`: of the readers, whose reads are recorded."""

    def __init__(self, stoker: Stoker, file: TraceFile, share: float = 1.0, key: bytes = b"") -> None:
        self._stoker = stoker
        self._file = file
        self._share = share
        self._key = key or secrets.token_bytes(16)
        self._entries = Entries(stoker)
        self._visits: Position | None = None
        self._changes = Position()

    async def poll(self) -> None:
        """Record what has happened since the last time; raises CacheUnavailable, TraceNotWritten."""
        store = self._stoker.cache.store
        if self._visits is None:
            await self._entries.learn_costs()
            now = (await store.client.server()).now_us() / 1e6
            self._visits = self._changes = Position(now)
        visits, visits_at = await visits_since(store.client, store.keys, self._visits)
        changes, changes_at = await changes_since(store.client, store.keys, self._changes)
        self._visits, self._changes = visits_at, changes_at
        happened: list[Visit | Change] = [*visits]
        happened += changes
        for one in sorted(happened, key=lambda one: one.at):
            if isinstance(one, Change):
                self._change(one)
            else:
                self._read(one)

    def _read(self, visit: Visit) -> None:
        entry = visit.member.decode(errors="replace")
        key = self._entries.key(entry)
        reader = self._digest(visit.reader.decode(errors="replace"))
        if key is None or int(reader, 16) >= self._share * 2**48:
            return
        name = f"{self._scope(key.scope)}/{key.view}"
        if key.params:
            name += f"?{self._digest(key.params)}"
        self._file.read(visit.at, reader, name, self._entries.cost(entry))

    def _change(self, change: Change) -> None:
        if change.scope.kind == EVERY_SCOPE:
            return
        scope = self._scope(change.scope)
        for name in [f"{scope}/{view}" for view in sorted(change.views)] or [scope]:
            self._file.change(change.at, name)

    def _scope(self, scope: Scope) -> str:
        return f"{scope.kind}:{self._digest(f'{scope.kind}:{scope.id}')}"

    def _digest(self, text: str) -> str:
        return blake2b(text.encode(), digest_size=6, key=self._key).hexdigest()
