"""Which servers a command uses: those of the URLs, or embedded ones in a data folder.

Without URLs a command stops with an error: a mistyped variable in production must not open an empty database.
Only `up`, `demo` and `--embedded` start servers; servers that already run in the folder are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stoker.cli.display import note
from stoker.errors import SettingsError
from stoker.settings import Settings, load_settings, require
from stoker.telemetry import log

if TYPE_CHECKING:
    from stoker.embedded import servers

Embedded = Annotated[
    bool, typer.Option("--embedded", help="Use the servers in the folder of --data instead of URLs.")
]
Data = Annotated[Path, typer.Option("--data", help="Folder of the embedded servers.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
DATA = Path(".data")
NAMES = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL", "cache_redis_url": "CACHE_REDIS_URL"}


@dataclass(frozen=True)
class Session:
    """What a command uses; `owned`: embedded servers of its own, which stop when it ends."""

    settings: Settings
    embedded: bool = False
    owned: servers.Embedded | None = None

    @property
    def database_url(self) -> str:
        """Postgres, for asyncpg."""
        return require(self.settings.database_url, "DATABASE_URL")


@contextmanager
def session(
    *,
    embedded: bool,
    data: Path,
    needs: tuple[str, ...] = ("database_url", "redis_url"),
    api: Mapping[str, object] | None = None,
    cluster: bool = False,
) -> Iterator[Session]:
    """Settings with the URLs of the servers; raises SettingsError that names the URLs that are not set.

    `needs` are the URLs that the command requires; `api` are the options about the API. `cluster`: the
    embedded cache is a cluster.
    """
    overrides = {"api": api} if api else {}
    settings = load_settings(**overrides)
    log.configure(settings.log)
    given = [NAMES[field] for field in NAMES if getattr(settings, field) is not None]
    if not embedded:
        for field in needs:
            require(getattr(settings, field), NAMES[field])
        yield Session(settings)
        return
    from stoker import embedded as own  # noqa: PLC0415 - only here: most commands use URLs

    if given:
        raise SettingsError(f"--embedded, but {' and '.join(given)} is set: leave one of them out")
    if own.find(data) is None:
        note(f"starting Postgres and {'seven' if cluster else 'two'} Valkeys in {data}")
    with own.start(data, cluster=cluster) as running:
        urls = {
            "database_url": running.urls.database,
            "redis_url": running.urls.queue,
            "cache_redis_url": running.urls.cache,
        }
        yield Session(
            load_settings(**urls, **overrides), embedded=True, owned=running if running.owned else None
        )


def without_urls() -> bool:
    """Whether no URL is set: then `up` and `demo` start embedded servers."""
    settings = load_settings()
    return all(getattr(settings, field) is None for field in NAMES)
