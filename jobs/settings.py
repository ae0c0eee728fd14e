"""Settings of everything that a web app imports; a class per table of settings.toml.

The environment wins over the file; unknown keys and impossible values are refused with their name. Nothing
is read at import: `load_settings()` does it, once, where a process starts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from jobs.errors import SettingsError

DEFAULT_FILE = "settings.toml"
FILE_VARIABLE = "STOKER_SETTINGS"
"""Environment variable that names another settings file."""
ENV_PREFIX = "STOKER__"
LONGEST_TTL_S = 4_000_000
"""46 days. The header of an entry keeps its life as milliseconds in 32 bits."""
REDIS_OPTIONS = frozenset({"db", "username", "password", "client_name"})
TLS_OPTIONS = frozenset(
    f"ssl_{name}"
    for name in ("keyfile", "certfile", "cert_reqs", "ca_certs", "ca_data", "check_hostname", "ciphers")
)
"""What may follow the `?` of a Redis URL; limits of time and number are settings."""
NO_REDIS_URL = (
    "is not of the form redis://user:password@host:port/0; write what is special in a password "
    "as %2F (/), %3F (?), %23 (#), %40 (@)"
)
Ttl = Annotated[float, Field(gt=0, le=LONGEST_TTL_S)]
WORKER_TABLES = frozenset({"worker", "lanes", "schedule", "api", "log"})
"""Tables of settings.toml that only the worker reads (worker/settings.py)."""


class Table(BaseModel):
    """A table of settings.toml: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CacheSettings(Table):
    """Table [cache]."""

    prefix: str = Field(default="stoker", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    """First part of every key. Change it when two applications share a Redis."""
    ttl_s: dict[str, Ttl] = {}
    """Seconds until an entry of a view expires, by view name; views left out keep their declared TTL."""
    ttl_jitter: float = Field(default=0.1, ge=0, le=0.5)
    """Share by which TTLs are shortened at random, so that what was filled together expires apart."""
    fail_safe_s: float = Field(default=600, ge=0, le=LONGEST_TTL_S)
    """Seconds past its TTL for which an entry is kept to be served, marked stale, when its loader fails."""
    eager_refresh: float = Field(default=0.8, ge=0.1, le=1)
    """Share of its TTL after which an entry that is read asks for a refresh; 1 turns it off."""
    lease_s: PositiveFloat = 20
    """Seconds for which one process may build an entry. Longer than loaders.statement_timeout_s."""
    lease_wait_s: PositiveFloat = 2
    """Seconds that a reader waits for another process's build before it builds by itself."""
    compress_from_bytes: PositiveInt = 1024
    """Bodies of at least this size are compressed with zstd where that makes them smaller."""
    near_bytes: int = Field(default=32 * 1024 * 1024, ge=0)
    """Memory in bytes in which each process keeps entries it read, served only after their stamps were read;
    0 keeps none."""
    near_unasked_ms: int = Field(default=0, ge=0, le=60_000)
    """Milliseconds for which a kept entry that was found valid is served without asking Redis; 0 always asks.
    For that long a process may show what a change has replaced. Never for entries that access guards."""
    timeout_s: PositiveFloat = 0.5
    """Seconds for one call to the cache Redis, after which the breaker opens."""
    connections: PositiveInt = 8
    """Connections to the cache Redis per process; each is shared, a second opens when 16 calls wait."""
    breaker_retry_s: PositiveFloat = 1
    """Seconds between attempts to reach a cache that was away."""
    breaker_unsettled_s: PositiveFloat = 30
    """Age in seconds of the oldest unsettled event above which reads bypass the cache: a dead worker must
    not mean stale pages."""
    watch_s: PositiveFloat = 5
    """Seconds between looks at the oldest unsettled event, in every process that reads."""
    stats_flush_s: PositiveFloat = 2
    """Seconds between writes of a process's counters and read presence to the cache Redis."""


class LoaderSettings(Table):
    """Table [loaders]: the connections on which entries are built."""

    connections: PositiveInt = 8
    """SQL connections per process for building entries: the cap on loads that run at once."""
    statement_timeout_s: PositiveFloat = 10
    """Seconds after which Postgres ends a loader's statement. Shorter than cache.lease_s."""


class DatabaseSettings(Table):
    """Table [database]: the connections of services, outbox and worker."""

    connections: PositiveInt = 10
    """SQL connections per process, besides the loaders' own."""
    connect_timeout_s: PositiveFloat = 5
    """Seconds to connect, or to answer on a connection that was kept, before Postgres counts as away."""
    command_timeout_s: PositiveFloat = 30
    """Seconds for one statement of services, outbox and worker, after which Postgres counts as away: it may
    have gone without a word. For reports and exports that take longer use an engine of your own."""


class QueueSettings(Table):
    """Table [queue]."""

    prefix: str = Field(default="stoker", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    """First part of the queues' names. Web app and worker must agree."""
    timeout_s: PositiveFloat = 2
    """Seconds for one call to the queue Redis."""
    connections: PositiveInt = 20
    """Connections to the queue Redis per process."""
    expires_s: PositiveInt = 30 * 86400
    """Seconds that a payload is kept past the time it was due (arq's own default is a day)."""
    allow_eviction: bool = False
    """Start on a queue Redis whose policy may evict jobs. Only for development."""


class ChangesSettings(Table):
    """Table [changes]: outbox and relay."""

    batch: PositiveInt = 5000
    """Events that a relay claims in one transaction."""
    idle_in_transaction_s: PositiveFloat = 10
    """Seconds after which Postgres frees the rows of a relay that froze after its claim (RACES 35)."""
    first_backoff_s: PositiveFloat = 1
    """Seconds before an event that failed alone is tried again; doubles with each attempt."""
    longest_backoff_s: PositiveFloat = 300
    """The longest of those delays in seconds."""
    keep_settled_s: PositiveInt = 86400
    """Seconds that settled events are kept. At least the longest TTL."""
    refresh_hot: bool = True
    """Ask for a refresh of hot entries that a change invalidated."""


class Settings(BaseSettings):
    """All that `jobs` needs; see settings.toml for the same with comments."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        allow_inf_nan=False,
    )

    domain: str = "jobs.projects"
    """The package whose `domain` declares views, events and rules."""
    redis_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("REDIS_URL", "redis_url"))
    """The queue Redis, and the cache too unless CACHE_REDIS_URL is set."""
    cache_redis_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("CACHE_REDIS_URL", "cache_redis_url")
    )
    """The cache Redis."""
    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("DATABASE_URL", "database_url")
    )
    """Postgres: the application's own database."""
    default_ttl_s: Ttl = Field(
        default=3600, validation_alias=AliasChoices("CACHE_DEFAULT_TTL", "default_ttl_s")
    )
    """Seconds until entries of views that declare no TTL expire."""

    cache: CacheSettings = CacheSettings()
    loaders: LoaderSettings = LoaderSettings()
    database: DatabaseSettings = DatabaseSettings()
    queue: QueueSettings = QueueSettings()
    changes: ChangesSettings = ChangesSettings()

    @field_validator("redis_url", "cache_redis_url", "database_url", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the source held
        return value or None

    @field_validator("database_url")
    @classmethod
    def _asyncpg(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        scheme, separator, rest = value.get_secret_value().partition("://")
        if not separator or scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
            msg = "must begin with postgresql:// or postgresql+asyncpg://"
            raise ValueError(msg)
        return SecretStr(f"postgresql+asyncpg://{rest}")

    @field_validator("redis_url", "cache_redis_url")
    @classmethod
    def _one_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        _check_redis_url(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _keep_settled_longer_than_entries(self) -> Self:
        longest = max([self.default_ttl_s, *self.cache.ttl_s.values()])
        if self.changes.keep_settled_s < longest:
            kept = self.changes.keep_settled_s
            msg = f"changes.keep_settled_s ({kept}) is below the longest TTL ({longest:g})"
            raise ValueError(msg)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        return init_settings, env_settings, _File(settings_cls, settings_file())

    def ttl(self, view: str, declared: timedelta | None) -> timedelta:
        """The TTL of a view: the setting, else what the domain declares, else CACHE_DEFAULT_TTL."""
        if view in self.cache.ttl_s:
            return timedelta(seconds=self.cache.ttl_s[view])
        return declared if declared is not None else timedelta(seconds=self.default_ttl_s)


def _check_redis_url(url: str) -> None:
    """Raise ValueError for what no client could use; says nothing of what may be a password."""
    if url.partition("://")[0] not in {"redis", "rediss", "unix"}:
        msg = (
            "must begin with redis://, rediss:// or unix://; Sentinel and Cluster are not supported yet: "
            "name the primary itself"
        )
        raise ValueError(msg)
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is none
    except ValueError:
        raise ValueError(NO_REDIS_URL) from None
    # A special character in a password that was left as it is moves the rest of it behind the host.
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


class _File(TomlConfigSettingsSource):
    """settings.toml without the tables that the class being loaded has no business with."""

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        known = set(self.settings_cls.model_fields)
        return {key: value for key, value in found.items() if key in known or key not in WORKER_TABLES}


S = TypeVar("S", bound=Settings)


def settings_file() -> Path | None:
    """The settings file of this process: STOKER_SETTINGS, else settings.toml here, else none."""
    named = os.environ.get(FILE_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise SettingsError(f"{FILE_VARIABLE} names {named}, which is not a file")
        return Path(named)
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else None


def load_settings(cls: type[S] = Settings, **overrides: Any) -> S:  # type: ignore[assignment] # noqa: ANN401
    """Read file and environment; raises SettingsError naming every key that is wrong."""
    _refuse_unknown_tables(cls)
    try:
        return cls(**overrides)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise SettingsError("\n".join(_told(cls, problem) for problem in problems)) from None
    except TOMLDecodeError as error:
        raise SettingsError(f"{os.environ.get(FILE_VARIABLE, DEFAULT_FILE)}: {error}") from None
    except ValueError as error:  # a nested variable that is no JSON
        raise SettingsError(str(error)) from None


def _told(cls: type[Settings], problem: Mapping[str, Any]) -> str:
    """A problem in one line: the key, what is wrong with it, and for a misspelt one what was meant."""
    *tables, name = problem["loc"] or ("settings",)
    said = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        meant = get_close_matches(str(name), _fields(cls, tables), n=1)
        said = "there is no such setting" + (f"; did you mean {meant[0]}?" if meant else "")
    return f"{'.'.join(str(part) for part in (*tables, name))}: {said}"


def _fields(model: Any, path: Sequence[object]) -> Mapping[str, Any]:  # noqa: ANN401 - a model, or a field's type
    """The settings that a table has; none where the path leads into no table."""
    for name in path:
        field = getattr(model, "model_fields", {}).get(name)
        model = getattr(field, "annotation", None)
    fields: Mapping[str, Any] = getattr(model, "model_fields", {})
    return fields


def _refuse_unknown_tables(cls: type[Settings]) -> None:
    # pydantic-settings ignores variables of the prefix that match no field: a typo would pass in silence.
    known = {name.lower() for name in cls.model_fields} | WORKER_TABLES
    for name in os.environ:
        if name.upper().startswith(ENV_PREFIX):
            table = name[len(ENV_PREFIX) :].split("__")[0].lower()
            if table not in known:
                raise SettingsError(f"{name}: there is no setting {table!r}")


def require(url: SecretStr | None, name: str) -> str:
    """The URL in clear, or a SettingsError that names the variable to set."""
    if url is None:
        raise SettingsError(f"{name} is not set; set it, or pass --embedded for servers of this checkout")
    return url.get_secret_value()
