"""Reading many entries of any views at once: one round trip for what is cached, one load a view for the rest.

A request for which `Cache.read` would raise a StokerError does not fail the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from time import perf_counter

from stoker.cache.accounting import ERROR
from stoker.cache.lookup import Asked, Plan
from stoker.cache.read import REFUSALS, Cache
from stoker.cache.reading import Reading
from stoker.errors import CacheUnavailable, DatabaseUnavailable, DeclarationError, StokerError

Answers = list[Reading | StokerError]

AT_ONCE = 500
"""Requests that are looked up and built together. Their commands must fit into the deadline of one call."""


async def read_many(cache: Cache, asked: Sequence[Asked], *, reader: object = None) -> Answers:
    """One answer for each request, in order; an error stands where `Cache.read` would raise it.

    Raises DeclarationError for what is no Asked.
    """
    for one in asked:
        if not isinstance(one, Asked):
            raise DeclarationError(f"read_many takes Asked(view, scope_id, ...) for each entry, not {one!r}")
    if not cache.breaker.open:
        try:
            began_s = perf_counter()
            answers = await _through_cache(cache, asked, reader)
            _account(cache, asked, answers, perf_counter() - began_s)
        except CacheUnavailable as error:
            cache.breaker.trip(str(error))
        else:
            return answers
    return await _permitted_still(cache, asked, await _past_cache(cache, asked, reader), reader)


def _account(cache: Cache, asked: Sequence[Asked], answers: Answers, seconds: float) -> None:
    """Count the times of answers: each took as long as all together, for so long its reader has waited."""
    states = Counter(
        (cache.catalog.view(one.view).name, _state(answer))
        for one, answer in zip(asked, answers, strict=True)
        if not isinstance(answer, REFUSALS)
    )
    for (view, state), times in states.items():
        cache.accounting.took(view, state, seconds, times)


def _state(answer: Reading | StokerError) -> str:
    return answer.state if isinstance(answer, Reading) else ERROR


async def _past_cache(cache: Cache, asked: Sequence[Asked], reader: object) -> Answers:
    return await _answers(cache.read(*one, reader=reader) for one in asked)


async def _through_cache(cache: Cache, asked: Sequence[Asked], reader: object) -> Answers:
    answers: Answers = []
    waited = False
    for start in range(0, len(asked), AT_ONCE):
        waited |= start > 0
        some, they_waited = await _group(cache, asked[start : start + AT_ONCE], reader)
        answers += some
        waited |= they_waited
    if not waited:
        return answers
    return await _permitted_still(cache, asked, await _within_still(cache, asked, answers, reader), reader)


async def _group(cache: Cache, asked: Sequence[Asked], reader: object) -> tuple[Answers, bool]:
    """The answers, and whether one of them had to wait after others had been read."""
    wanted = [_permitted(cache, one, reader) for one in asked]
    plans = [one for one in wanted if not isinstance(one, StokerError)]
    held = await cache.fetch(plans, within_terms=True)
    missing = {key for one in held for key in one.missing()}
    if missing:
        causes = await cache.causes(held)
        with suppress(DatabaseUnavailable):  # each read below raises it for itself
            await cache.filler.in_time(cache.filler.fill_ahead(sorted(missing)))
        # Time has passed: read all entries and rights again (RACES 23). An answer that had to be built is
        # reported as a miss, although it is in the cache by now.
        held = [
            again._replace(cause=cause) if one.missing() else again
            for one, cause, again in zip(held, causes, await cache.fetch(plans), strict=True)
        ]
    waits = not all(cache.is_at_hand(one, reader) for one in held)
    concluded = await _answers(cache.conclude(one, reader) for one in held)
    for one in concluded:
        if isinstance(one, CacheUnavailable):
            raise one  # the cache went away: answer all requests from SQL
    answers = iter(concluded)
    return [one if isinstance(one, StokerError) else next(answers) for one in wanted], waits


async def _permitted_still(cache: Cache, asked: Sequence[Asked], answers: Answers, reader: object) -> Answers:
    """The answers, except those that the reader lost the right to while others were built (RACES 23)."""
    guards = [
        cache.plan(*one, reader=reader).guard if isinstance(answer, Reading) else None
        for one, answer in zip(asked, answers, strict=True)
    ]
    refused = await cache.rights.refusals([guard for guard in guards if guard is not None], reader)
    return [
        refused.get(guard, answer) if guard is not None else answer
        for guard, answer in zip(guards, answers, strict=True)
    ]


async def _within_still(cache: Cache, asked: Sequence[Asked], answers: Answers, reader: object) -> Answers:
    """The answers; what may have left its parent while others were built is read again (RACES 46)."""
    within = {
        place: cache.plan(*one, reader=reader)
        for place, (one, answer) in enumerate(zip(asked, answers, strict=True))
        if one.within is not None and isinstance(answer, Reading)
    }
    held = await cache.fetch(list(within.values()))
    moved = [
        place
        for place, one in zip(within, held, strict=True)
        if one.found.miss is not None
        or one.found.envelope is None
        or not one.plan.belongs(one.found.envelope.parent)
    ]
    again = await _answers(cache.read(*asked[place], reader=reader) for place in moved)
    for place, answer in zip(moved, again, strict=True):
        answers[place] = answer
    return answers


def _permitted(cache: Cache, one: Asked, reader: object) -> Plan | StokerError:
    try:
        return cache.plan(*one, reader=reader)
    except StokerError as error:
        return error


async def _answers(reads: Iterable[Awaitable[Reading]]) -> Answers:
    found = await asyncio.gather(*reads, return_exceptions=True)
    answers: Answers = []
    for one in found:
        if not isinstance(one, Reading | StokerError):
            raise one
        answers.append(one)
    return answers
