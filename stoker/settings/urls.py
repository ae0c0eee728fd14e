"""Checks of the servers' URLs.

A refused URL is never shown: a part of it may be a password.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import SecretStr

from stoker.errors import SettingsError
from stoker.settings.postgres import checked

REDIS_OPTIONS = frozenset({"db", "username", "password", "client_name"})
TLS_OPTIONS = frozenset(
    f"ssl_{name}"
    for name in ("keyfile", "certfile", "cert_reqs", "ca_certs", "ca_data", "check_hostname", "ciphers")
)
"""The options allowed after the `?` of a Redis URL; time limits and numbers are settings."""
NO_REDIS_URL = (
    "is not of the form redis://user:password@host:port/0; write what is special in a password "
    "as %2F (/), %3F (?), %23 (#), %40 (@)"
)


def asyncpg_url(url: str) -> str:
    """The same Postgres as SQLAlchemy takes it; raises ValueError for another database."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        msg = "must begin with postgresql:// or postgresql+asyncpg://"
        raise ValueError(msg)
    return checked(f"postgresql+asyncpg://{rest}")


def check_redis_url(url: str) -> None:
    """Raise ValueError for a URL that no client could use, without showing what may be a password."""
    if url.partition("://")[0] not in {"redis", "rediss", "unix"}:
        msg = (
            "must begin with redis://, rediss:// or unix://; Sentinel and Cluster are not supported yet: "
            "name the primary itself"
        )
        raise ValueError(msg)
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for an invalid port
    except ValueError:
        raise ValueError(NO_REDIS_URL) from None
    # An unescaped special character in a password moves the rest of it behind the host.
    behind = parts.query if parts.scheme == "unix" else parts.path + parts.query
    database = parts.scheme == "unix" or re.fullmatch(r"/?\d*", parts.path)
    if "@" in behind or parts.fragment or not database:
        raise ValueError(NO_REDIS_URL)
    _check_options(parts)


def _check_options(parts: SplitResult) -> None:
    known = REDIS_OPTIONS | (TLS_OPTIONS if parts.scheme == "rediss" else frozenset())
    unknown = sorted(parse_qs(parts.query, keep_blank_values=True).keys() - known)
    if unknown:
        msg = f"takes no option {unknown[0]!r}: limits of time and number are settings of [queue] and [cache]"
        raise ValueError(msg)


def address_of(url: str) -> str:
    """Where a server listens: hosts with ports, or the path of a socket. Never a user, password or option."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    # libpq also takes the place as options.
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    port = f":{options['port']}" if "port" in options else ""
    return parts.netloc.rpartition("@")[2] or f"{options.get('host', 'the default host')}{port}"


def require(url: SecretStr | None, name: str) -> str:
    """The URL in clear, or a SettingsError that names the variable to set."""
    if url is None:
        raise SettingsError(
            f"{name} is not set: set it in the environment or in settings.toml. `stoker up` runs servers"
            " of its own and prints a line that sets it; stoker's commands in its folder also take --embedded"
        )
    return url.get_secret_value()
