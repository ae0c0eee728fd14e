"""Wrong tokens, in a header or at sign-in: limited for each network they come from, logged, counted, audited.

A valid token is found before guesses are counted, so other callers' wrong tokens never block it. Only guesses
within the rate are audited, and the number a minute over all networks is limited: the audit log cannot be
flooded.
"""

from __future__ import annotations

import logging
import time
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from stoker.api.failures import Refused, too_many
from stoker.api.rates import Bucket, Rate
from stoker.errors import DatabaseUnavailable
from stoker.operations.audit import Actor, audit
from stoker.postgres import database_errors
from stoker.settings import NOBODY

log = logging.getLogger(__name__)

AUDITED_PER_MINUTE = 60
"""Guesses a minute of all networks together that one process writes to the audit log."""
LOGGED_EVERY_S = 1.0
"""Seconds between two log lines; each says how many guesses there were so far."""
CHALLENGE = {"WWW-Authenticate": "Bearer"}
IPV6_PREFIX = 64
"""The network that a provider gives to one customer: a limit for each address would have no effect."""


class Guesses:
    """The wrong tokens that this process was given."""

    def __init__(self, rate: Rate, engine: AsyncEngine) -> None:
        self.total = 0
        self._rate = rate
        self._engine = engine
        self._audited = Bucket(AUDITED_PER_MINUTE)
        self._log_at = 0.0

    async def refusal(self, address: str | None, where: str) -> Refused:
        """The answer to a wrong token: 401, or 429 for a network that guesses too often."""
        self.total += 1
        wait_s = await self._rate.wait_s(network(address))
        self._log(address, where)
        if wait_s:
            return too_many(wait_s)
        if not self._audited.wait_s("all"):
            await self._audit(address, where)
        return Refused(401, "unauthorized", "no such token", headers=CHALLENGE)

    def _log(self, address: str | None, where: str) -> None:
        if time.monotonic() >= self._log_at:
            self._log_at = time.monotonic() + LOGGED_EVERY_S
            log.warning(
                "api.token_refused", extra={"address": address, "where": where, "guesses": self.total}
            )

    async def _audit(self, address: str | None, where: str) -> None:
        try:
            with database_errors():
                async with AsyncSession(self._engine) as session, session.begin():
                    await audit(session, Actor(NOBODY, address), "token.refused", {"where": where})
        except DatabaseUnavailable as error:
            log.info("api.guess_not_audited", extra={"error": str(error)})


def network(address: str | None) -> str:
    """The network whose guesses count together: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or ""
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(ip_network((found, IPV6_PREFIX), strict=False))
    return str(found.ipv4_mapped if isinstance(found, IPv6Address) else found)
