"""The Postgres URL: which of libpq's options may follow its `?`, and how they are passed to the driver.

URLs that are copied from hosting panels work in psql, but asyncpg reads such options only from a DSN, and
SQLAlchemy passes none. An option that the driver does not support is refused by name, never dropped, and no
value is shown: a part of a URL may be a password.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

PLACE = frozenset({"host", "port", "user", "password", "database", "prepared_statement_cache_size"})
"""Options that SQLAlchemy passes to the driver unchanged."""
FILES = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})
LIBPQ = FILES | frozenset(
    """
    sslmode sslpassword sslnegotiation ssl_min_protocol_version ssl_max_protocol_version application_name
    options dbname passfile service target_session_attrs krbsrvname gsslib
    """.split()  # noqa: SIM905 - reads better than a column of quotes
)
"""Options of libpq that asyncpg knows too, in a DSN."""
NUMBERS = {"statement_cache_size": "statement_cache_size", "connect_timeout": "timeout"}
"""Options with whole numbers, and the driver's names of them."""
CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "primary", "standby", "read-write", "read-only", "prefer-standby"),
}
SEVERAL_HOSTS = re.compile(
    r"(?P<before>[^:/?]+://(?:[^/?]*@)?)(?P<hosts>[^/?@\[\],]+(?:,[^/?@\[\],]+)+)"
    r"(?P<database>/[^?]*)?(?:\?(?P<options>.*))?"
)
NO_URL = (
    "is not of the form postgresql://user:password@host:5432/database; write what is special in a password "
    "as %2F (/), %3F (?), %23 (#), %40 (@)"
)


def checked(url: str) -> str:
    """The URL in libpq's terms; raises ValueError with a line that names the option that is not possible."""
    url = _hosts_as_options(url)
    parsed = _parsed(url)
    for name, value in _options(parsed).items():
        if name in FILES and not os.access(value, os.R_OK):
            raise ValueError(f"{name} is no file that can be read")
        if name in NUMBERS and not value.isdecimal():
            raise ValueError(f"{name} must be a whole number")
        if name in CHOICES and value not in CHOICES[name]:
            raise ValueError(f"{name} must be one of {', '.join(CHOICES[name])}")
        if name not in PLACE | LIBPQ | NUMBERS.keys():
            shown = repr(name) if re.fullmatch(r"[a-z_]{1,40}", name) else "so named"
            raise ValueError(f"takes no option {shown}: Stoker's driver, asyncpg, cannot keep it")
    return url if "ssl" not in parsed.query else _without_ssl(parsed)


def for_driver(url: str) -> tuple[URL, dict[str, Any]]:
    """The URL without options that SQLAlchemy lacks, and those as arguments of asyncpg's `connect`."""
    parsed = make_url(url)
    given = _options(parsed)
    arguments: dict[str, Any] = {NUMBERS[name]: int(given[name]) for name in NUMBERS.keys() & given}
    if not arguments.get("timeout", 1):
        del arguments["timeout"]  # libpq's word for no limit: the setting's counts
    libpq = {name: given[name] for name in LIBPQ & given.keys()}
    if libpq:
        arguments["dsn"] = f"postgresql://?{urlencode(libpq)}"
    return parsed.difference_update_query([*parsed.query.keys() - PLACE]), arguments


def _hosts_as_options(url: str) -> str:
    """Libpq's `//user@a:5432,b:5432/app` as SQLAlchemy takes it; any other URL as it is."""
    found = SEVERAL_HOSTS.fullmatch(url)
    if found is None:
        return url
    hosts = [host if ":" in host else f"{host}:5432" for host in found["hosts"].split(",")]
    options = [*(f"host={host}" for host in hosts), *filter(None, [found["options"]])]
    return f"{found['before']}{found['database'] or '/'}?{'&'.join(options)}"


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # its message shows what could not be read
        raise ValueError(NO_URL) from None


def _without_ssl(url: URL) -> str:
    """With `sslmode` in place of `ssl`, the name that only SQLAlchemy uses."""
    spelt = url.difference_update_query(["ssl"]).update_query_dict({"sslmode": _options(url)["sslmode"]})
    return spelt.render_as_string(hide_password=False)


def _options(url: URL) -> dict[str, str]:
    """By libpq's names; if one is given twice, the last counts."""
    found = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    return {"sslmode" if name == "ssl" else name: value for name, value in found.items()}
