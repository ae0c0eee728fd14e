"""Checks of the servers' URLs.

A refused URL is never shown: a part of it may be a password.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import SecretStr

from stoker.errors import SettingsError
from stoker.settings import topology
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


def check_redis_url(url: str, *, of_queue: bool = False) -> None:
    """Raise ValueError for a URL that no client could use, without showing what may be a password."""
    scheme = url.partition("://")[0].removesuffix(topology.SENTINEL)
    if scheme not in {"redis", "rediss", "unix"} or (scheme == "unix" and topology.is_sentinel(url)):
        msg = "must begin with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://"
        raise ValueError(msg)
    try:
        _check_escaped(_split(url))
        singles, known = _taken_apart(url)
        for one in singles:
            _check_single(one)
    except _NoUrl:
        raise ValueError(NO_REDIS_URL) from None
    if of_queue and topology.is_cluster(url):
        msg = (
            "is of a cluster: the queue needs a single server, because its scripts change many keys at once; "
            "name one, or a Sentinel's with redis+sentinel://, and give the cluster to CACHE_REDIS_URL"
        )
        raise ValueError(msg)
    _check_options(urlsplit(url), known)


class _NoUrl(ValueError):
    """Nothing can be said of it without showing it."""


def _taken_apart(url: str) -> tuple[Sequence[str], frozenset[str]]:
    """URLs of single servers, and the options that only such a URL takes."""
    parts = urlsplit(url)
    if topology.is_sentinel(url):
        sentinels = topology.Sentinels.of(url)
        return [*sentinels.urls, sentinels.primary], topology.SENTINEL_OPTIONS
    if not topology.is_cluster(url):
        if topology.CLUSTER in parse_qs(parts.query, keep_blank_values=True):
            msg = "takes cluster=true; leave the option out for a single server"
            raise ValueError(msg)
        if "," in parts.netloc.rpartition("@")[2]:
            msg = "names several servers: write ?cluster=true behind those of a cluster"
            raise ValueError(msg)
        return [url], frozenset()
    if parts.scheme == "unix":
        msg = "is of a socket: nodes of a cluster are reached by host and port"
        raise ValueError(msg)
    if parts.path.strip("/") not in {"", "0"}:
        msg = "names a database: a cluster has only database 0"
        raise ValueError(msg)
    return topology.nodes(url), frozenset({topology.CLUSTER})


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its text may contain a password
        raise _NoUrl from None


def _check_single(url: str) -> None:
    parts = _split(url)
    try:
        _ = parts.port  # raises for an invalid port
    except ValueError:
        raise _NoUrl from None
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise _NoUrl


def _check_escaped(parts: SplitResult) -> None:
    """An unescaped special character in a password moves the rest of it behind the host."""
    behind = parts.query if parts.scheme == "unix" else parts.path + parts.query
    if "@" in behind or parts.fragment:
        raise _NoUrl


def _check_options(parts: SplitResult, more: frozenset[str]) -> None:
    with_tls = parts.scheme.startswith("rediss") or parse_qs(parts.query).get("sentinel_tls") == ["true"]
    tls = TLS_OPTIONS if with_tls else frozenset()
    unknown = sorted(parse_qs(parts.query, keep_blank_values=True).keys() - REDIS_OPTIONS - tls - more)
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
