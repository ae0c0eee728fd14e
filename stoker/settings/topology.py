"""URLs of several servers: a cluster's, and those of a primary that Sentinels know.

    redis://user:password@a:6379,b:6379/?cluster=true
    redis+sentinel://user:password@s1:26379,s2:26379/mymaster/0?sentinel_password=...

Each is taken apart into plain URLs of single servers, which redis-py understands. `rediss` and
`rediss+sentinel` are the same with TLS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

CLUSTER = "cluster"
SENTINEL = "+sentinel"
SENTINEL_PORT = 26379
SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password", "sentinel_tls"})
TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def is_cluster(url: str) -> bool:
    """Whether the URL says that its servers are nodes of a cluster."""
    return _options(url).get(CLUSTER) == "true"


def is_sentinel(url: str) -> bool:
    """Whether the URL names Sentinels instead of the server itself."""
    return url.partition("://")[0].endswith(SENTINEL)


def nodes(url: str) -> Sequence[str]:
    """The URL of each node that a cluster's URL names; of another URL, itself.

    Raises ValueError for a URL that nobody could take apart.
    """
    if not is_cluster(url):
        return [url]
    options = _options(url)
    del options[CLUSTER]
    return [_with(url, host, query=urlencode(options)) for host in _hosts(url)]


def beside(url: str, host: str, port: int) -> str:
    """The URL of another node of the same cluster."""
    return _with(url, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


@dataclass(frozen=True)
class Sentinels:
    """The servers that know where the primary of this name is."""

    urls: Sequence[str]
    name: str
    primary: str
    """The URL of the primary, with `localhost` in place of where it is now."""

    @classmethod
    def of(cls, url: str) -> Sentinels:
        """Raises ValueError with what is wrong, without showing what may be a password."""
        scheme = url.partition("://")[0].removesuffix(SENTINEL)
        options = _options(url)
        own = {name: options.pop(name) for name in SENTINEL_OPTIONS & options.keys()}
        name, _, database = urlsplit(url).path.strip("/").partition("/")
        if not name or not (database or "0").isdigit():
            msg = "names no master: write redis+sentinel://host:26379,host:26379/mymaster/0"
            raise ValueError(msg)
        tls = TRUTHS.get(own.get("sentinel_tls", str(scheme == "rediss")).lower())
        if tls is None:
            msg = "takes sentinel_tls=true or sentinel_tls=false"
            raise ValueError(msg)
        at = _credentials(own)
        of_tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
        if scheme != "rediss":
            options = {name: value for name, value in options.items() if name not in of_tls}
        query = urlencode(of_tls if tls else {})
        urls = [
            f"{'rediss' if tls else 'redis'}://{at}{host}/0?{query}" for host in _hosts(url, SENTINEL_PORT)
        ]
        netloc = f"{urlsplit(url).netloc.rpartition('@')[0]}@".removeprefix("@")
        return cls(urls, name, f"{scheme}://{netloc}localhost/{database or '0'}?{urlencode(options)}")


def _options(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def _hosts(url: str, port: int | None = None) -> Sequence[str]:
    hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    if not all(hosts):
        msg = "names a host without a name: leave the comma out"
        raise ValueError(msg)
    return [
        f"{host}:{port}" if port and not re.search(r"[^:\]]:[^:\]]+$|\]:", host) else host for host in hosts
    ]


def _with(url: str, host: str, **parts: str) -> str:
    whole = urlsplit(url)
    credentials, at, _ = whole.netloc.rpartition("@")
    return whole._replace(netloc=f"{credentials}{at}{host}", **parts).geturl()


def _credentials(options: Mapping[str, str]) -> str:
    name, password = options.get("sentinel_username", ""), options.get("sentinel_password", "")
    return f"{quote(name, safe='')}:{quote(password, safe='')}@" if name or password else ""
