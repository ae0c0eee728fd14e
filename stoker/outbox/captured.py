"""Events that triggers recorded: their rules are asked here, where they are applied.

Nothing of them is lost without a word: where this release does not know the kind, cannot read the event, or
its rule fails, the views that the capture names are invalidated in every scope.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import from_json, to_json

from stoker.domain import Domain
from stoker.outbox.rows import Alike
from stoker.outbox.scopes import encode
from stoker.rules import ASK_RULE, EVERY_SCOPE, Invalidation

NO_FIELDS = "null"
"""The payload of an event that names no rows: it stands for whole views."""
logger = logging.getLogger(__name__)


def with_rules_asked(claimed: Iterable[Alike], domain: Domain) -> list[Alike]:
    """The same events, with the scopes that their rules name in the place of ASK_RULE."""
    return [_asked(same, domain) if asks_rule(same.scopes) else same for same in claimed]


def told(claimed: Sequence[Alike], asked: Sequence[Alike]) -> dict[int, str]:
    """What to store of events whose rules were asked: id -> scopes."""
    return {
        event_id: after.scopes
        for before, after in zip(claimed, asked, strict=True)
        if before is not after
        for event_id in after.ids
    }


def asks_rule(scopes: str) -> bool:
    """Whether these are the scopes of an event whose rule is still to be asked; JSON, however spaced."""
    return ASK_RULE in scopes and [one[:1] for one in _listed(scopes)] == [[ASK_RULE]]


def _asked(same: Alike, domain: Domain) -> Alike:
    try:
        scopes = encode(_invalidations(same, domain), domain)
    except Exception as error:
        # A rule is the adopter's code and may raise anything. The change is committed: it must not be lost.
        logger.exception(
            "event.rule_not_asked", extra={"kind": same.kind, "event_ids": same.ids[:20], "error": str(error)}
        )
        everywhere = [[EVERY_SCOPE, *_listed(same.scopes)[0][1:]]]
        # Without its fields, so that no audience is asked about what cannot be read.
        return replace(same, scopes=to_json(everywhere).decode(), payload=NO_FIELDS)
    return replace(same, scopes=to_json(scopes).decode())


def _invalidations(same: Alike, domain: Domain) -> list[Invalidation]:
    rule = domain.rules_by_kind.get(same.kind)
    if rule is None:
        raise LookupError(
            f"this release has no rule for {same.kind}: deploy the one that has, or run stoker captures diff"
        )
    event = rule.event.model_validate_json(same.payload, extra="ignore")
    return domain.checked(rule.invalidates(event), f"the rule for {same.kind!r}")


def _listed(scopes: str) -> list[list[Any]]:
    try:
        found = from_json(scopes)
    except ValueError:
        return []
    well = isinstance(found, list) and all(isinstance(one, list) for one in found)
    return found if well else []
