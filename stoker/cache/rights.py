"""Who may read: by the access entries in the cache, and by SQL where they do not name the reader.

A refusal is never cached, and a right is checked again after every wait (RACES 21, 23).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic_core import from_json

from stoker.cache.breaker import Breaker
from stoker.cache.fill import Filled, Filler
from stoker.cache.loads import Loaded
from stoker.cache.reading import Found, Miss
from stoker.cache.strangers import Strangers
from stoker.cache.view import EntryKey
from stoker.errors import CacheUnavailable, DeclarationError, Forbidden, NotFound, StokerError
from stoker.jobs import Outcome

STRANGERS_SHARE = 4
"""One in so many of the loads at once may be for readers who were refused repeatedly."""


class Rights:
    """Finds and confirms roles."""

    def __init__(self, filler: Filler, breaker: Breaker) -> None:
        self.filler = filler
        self._breaker = breaker
        self._strangers = Strangers(max(1, filler.loads.cap // STRANGERS_SHARE))

    async def role(self, guard: EntryKey, found: Found, reader: object) -> str:
        """The reader's role; an entry that refuses is confirmed in SQL, and refusals are not cached."""
        roles = found.content
        if found.miss is not None:
            cause = found.miss
            if cause is Miss.EVICTED:
                [cause] = await self.filler.store.absent_because([self.filler.names(guard)])
            self.filler.accounting.count(guard.view, f"miss_{cause}")
            filled = await self.filler.in_time(self._fill(guard, reader))
            if filled.outcome is not Outcome.STORED:
                # Overtaken or not stored: the value may be older than an applied removal (RACES 23).
                return await self.role_in_sql(guard, reader)
            roles = filled.content
        role = roles.role_of(reader) if roles is not None else None
        return role if role is not None else await self.role_in_sql(guard, reader)

    async def role_in_sql(self, guard: EntryKey, reader: object) -> str:
        """The role in SQL; raises NotFound without a row, Forbidden for a reader whom it does not name."""
        loaded = await self.filler.in_time(self._load(guard, reader))
        try:
            return _role_of(guard, loaded.bodies.get(guard), reader)
        except (NotFound, Forbidden):
            self._strangers.refused(reader)
            raise

    async def _fill(self, guard: EntryKey, reader: object) -> Filled:
        async with self._strangers.turn(reader):
            return await self.filler.fill(guard)

    async def _load(self, guard: EntryKey, reader: object) -> Loaded:
        async with self._strangers.turn(reader):
            view = self.filler.catalog.view(guard.view)
            return await self.filler.loads.load_without_stamp(view, guard)

    async def refusals(self, guards: Iterable[EntryKey], reader: object) -> Mapping[EntryKey, StokerError]:
        """The access entries that do not name the reader now, each with the error; all are read together.

        Those that do not name the reader in the cache are read from SQL; then the rest is checked once more.
        """
        refused: dict[EntryKey, StokerError] = {}
        unsure = list(dict.fromkeys(guards))
        while unsure:
            asked = await self._not_named(unsure, reader)
            if not asked:
                break
            refused |= await self._refusals_in_sql(asked, reader)
            unsure = [guard for guard in unsure if guard not in asked]
        return refused

    async def _not_named(self, guards: Sequence[EntryKey], reader: object) -> Sequence[EntryKey]:
        """The access entries that do not name the reader in the cache."""
        if self._breaker.open:
            return guards
        try:
            found = await self.filler.store.lookup.fetch(tuple(self.filler.names(guard) for guard in guards))
        except CacheUnavailable as error:
            self._breaker.trip(str(error))
            return guards
        return [guard for guard, one in zip(guards, found, strict=True) if one.role_of(reader) is None]

    async def _refusals_in_sql(
        self, guards: Sequence[EntryKey], reader: object
    ) -> Mapping[EntryKey, StokerError]:
        refused: dict[EntryKey, StokerError] = {}
        for name in {guard.view for guard in guards}:
            mine = [guard for guard in guards if guard.view == name]
            try:
                bodies = (await self.filler.in_time(self._load_all(name, mine, reader))).bodies
            except StokerError as error:
                refused |= dict.fromkeys(mine, error)
                continue
            for guard in mine:
                try:
                    _role_of(guard, bodies.get(guard), reader)
                except (NotFound, Forbidden) as error:
                    refused[guard] = error
        if refused:
            self._strangers.refused(reader)
        return refused

    async def _load_all(self, view: str, guards: Sequence[EntryKey], reader: object) -> Loaded:
        async with self._strangers.turn(reader):
            return await self.filler.loads.load(self.filler.catalog.view(view), guards)


def _role_of(guard: EntryKey, body: bytes | None, reader: object) -> str:
    """The reader's role in an access entry; raises NotFound without an entry, Forbidden without a role.

    Raises DeclarationError for an access entry that is no object of roles.
    """
    if body is None:
        raise NotFound(f"{guard.scope} does not exist")
    roles = from_json(body)
    if not isinstance(roles, dict):
        raise DeclarationError(
            f"the access view {guard.view} holds a {type(roles).__name__} for {guard.scope}: its loader must "
            "return an object of reader id (as text) to role for each key"
        )
    role = roles.get(str(reader))
    if role is None:
        raise Forbidden(f"{guard.scope} is not for this reader")
    return str(role)
