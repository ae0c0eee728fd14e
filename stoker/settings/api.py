"""Access to the API, and its limits."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Self

from pydantic import (
    AwareDatetime,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)

from stoker.settings.tables import Table

NOBODY = "nobody"
"""Whom the audit log names for wrong tokens: no token may be named so."""
TOKEN_NAME = r"^[A-Za-z0-9._-]{1,40}$"  # noqa: S105 - the form of a name


class Role(StrEnum):
    """What a token may do: a viewer reads, an operator acts too."""

    VIEWER = "viewer"
    OPERATOR = "operator"


class TokenSettings(Table):
    """A row of [[api.tokens]]."""

    name: str = Field(pattern=TOKEN_NAME)
    """Whose token it is; written to the audit log."""
    role: Role
    """viewer or operator."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """The token's SHA-256 in hex: `printf %s "$TOKEN" | sha256sum`."""
    expires_at: AwareDatetime | None = None
    """When it ends by itself; none: it does not."""
    token: SecretStr | None = Field(default=None, min_length=16)
    """The token itself, where the settings come from a secret store. One of the two."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.sha256 is None) == (self.token is None):
            msg = f"token {self.name!r} needs either sha256 or token"
            raise ValueError(msg)
        return self

    @property
    def digest(self) -> str:
        """The token's SHA-256 in hex."""
        if self.token is not None:
            return hashlib.sha256(self.token.get_secret_value().encode()).hexdigest()
        return self.sha256 or ""

    @property
    def expired(self) -> bool:
        """Whether its time is over, by this host's clock."""
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class ApiSettings(Table):
    """Table [api]."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs a token, from api.tokens or `stoker tokens add`."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    body_limit_bytes: PositiveInt = 65536
    """Larger request bodies are answered with 413."""
    body_s: PositiveFloat = 10
    """Seconds that a request body may take to arrive; then 408."""
    connections: PositiveInt = 512
    """Connections at once; more get 503, and probes are answered all the same. Never more than the files that
    the process may open, less what it needs itself."""
    head_s: PositiveFloat = 10
    """Seconds that a connection may take to send the head of a request; then it is closed."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies before the API: ["127.0.0.1"]. Only their X-Forwarded-For and -Proto
    are believed, for the audit log, the rate of signing in and the cookie's Secure."""
    session_s: PositiveInt = 43200
    """Seconds for which signing in to the console lasts."""
    session_idle_s: PositiveInt = 3600
    """Seconds after which a console that nobody uses is signed out; raise it for a screen on a wall."""
    sign_ins_per_minute: PositiveInt = 10
    """Wrong tokens from one address (of IPv6: one /64) in a minute; more are answered with 429. Right ones
    are served all the same."""
    actions_per_minute: PositiveInt = 300
    """Invalidations, refreshes and warmings of one token in a minute; more are answered with 429."""
    reads_per_minute: PositiveInt = 1200
    """Requests of one token to one process in a minute, a quarter of them at once; more get 429."""
    read_connections: PositiveInt = 3
    """SQL connections per process for the queries of API and console, in a pool of their own."""
    read_timeout_s: PositiveFloat = 5
    """Seconds after which Postgres ends a statement of such a query."""
    silent_after_s: PositiveFloat = 1.5
    """Seconds after which API and console say that Postgres does not answer: a question waits for half of
    them, then a new connection is tried for the other half, so that a slow search is no silence. Raise it
    where connecting takes longer."""
    probe_timeout_s: PositiveFloat = 0.8
    """Seconds that /api/cache/health waits for a server before it says that it is down."""
    tokens: tuple[TokenSettings, ...] = ()
    """Who may ask: { name = "ops", role = "operator", sha256 = "..." } each. The role is viewer or operator;
    sha256 comes from `printf %s "$TOKEN" | sha256sum`, or give `token` itself from a secret store; expires_at
    ends it. The tokens of `stoker tokens add` count beside them. Where there never was any, the first start
    on loopback makes one."""

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ip_network(proxy)
            except ValueError:
                msg = f"{proxy!r} is no address and no network (10.0.0.0/8)"
                raise ValueError(msg) from None
        return proxies

    @field_validator("tokens")
    @classmethod
    def _names_differ(cls, tokens: tuple[TokenSettings, ...]) -> tuple[TokenSettings, ...]:
        names = [token.name for token in tokens]
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            msg = f"two tokens are named {doubles[0]!r}"
            raise ValueError(msg)
        if NOBODY in names:
            msg = f"no token may be named {NOBODY!r}: the audit log uses it for callers without a token"
            raise ValueError(msg)
        return tokens
