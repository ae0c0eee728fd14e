"""All settings of Stoker: its tables, and the settings outside of them."""

from __future__ import annotations

import os
from collections.abc import Collection
from datetime import timedelta
from typing import Any, Self

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from stoker.errors import SettingsError
from stoker.settings.api import ApiSettings
from stoker.settings.file import settings_file
from stoker.settings.process import LanesSettings, LogSettings, ProcessSettings
from stoker.settings.schedule import ScheduleSettings
from stoker.settings.tables import (
    CacheSettings,
    ChangesSettings,
    DatabaseSettings,
    LoaderSettings,
    QueueSettings,
    Ttl,
)
from stoker.settings.typo import meant
from stoker.settings.urls import asyncpg_url, check_redis_url
from stoker.settings.watch import WatchSettings

ENV_PREFIX = "STOKER__"
WARMING_VARIABLE = "ENABLE_BACKGROUND_WARMING"


class Settings(BaseSettings):
    """Everything that can be set. settings.toml has the same with its defaults, made from here."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        allow_inf_nan=False,
    )

    domain: str = ""
    """The module whose `domain` declares views, events and rules, or `module:name`. There is no default."""
    redis_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("REDIS_URL", "redis_url"))
    """The queue Redis, and the cache too unless cache_redis_url is set. It must not evict.
    redis+sentinel://s1:26379,s2:26379/mymaster/0 for one that Sentinels watch."""
    cache_redis_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("CACHE_REDIS_URL", "cache_redis_url")
    )
    """The cache Redis, which may evict anything. Set it to give the cache a server of its own; the same in
    all processes of an installation. redis://a:6379,b:6379/?cluster=true for a cluster."""
    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("DATABASE_URL", "database_url")
    )
    """The application's own Postgres, 14 or newer."""
    default_ttl_s: Ttl = Field(
        default=3600, validation_alias=AliasChoices("CACHE_DEFAULT_TTL", "default_ttl_s")
    )
    """Seconds until entries expire whose view declares no TTL."""

    cache: CacheSettings = CacheSettings()
    loaders: LoaderSettings = LoaderSettings()
    database: DatabaseSettings = DatabaseSettings()
    queue: QueueSettings = QueueSettings()
    changes: ChangesSettings = ChangesSettings()
    worker: ProcessSettings = ProcessSettings()
    lanes: LanesSettings = LanesSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    api: ApiSettings = ApiSettings()
    watch: WatchSettings = WatchSettings()
    log: LogSettings = LogSettings()

    @field_validator("redis_url", "cache_redis_url", "database_url", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the source held
        return value or None

    @field_validator("database_url")
    @classmethod
    def _asyncpg(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(asyncpg_url(value.get_secret_value()))

    @field_validator("redis_url")
    @classmethod
    def _queue(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_redis_url(value.get_secret_value(), of_queue=True)
        return value

    @field_validator("cache_redis_url")
    @classmethod
    def _cache(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_redis_url(value.get_secret_value())
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
        file = TomlConfigSettingsSource(settings_cls, settings_file())
        return init_settings, _Warming(settings_cls), env_settings, file

    def ttl(self, view: str, declared: timedelta | None) -> timedelta:
        """The TTL of a view: the setting, else what the domain declares, else CACHE_DEFAULT_TTL."""
        if view in self.cache.ttl_s:
            return timedelta(seconds=self.cache.ttl_s[view])
        return declared if declared is not None else timedelta(seconds=self.default_ttl_s)

    def require_views(self, known: Collection[str]) -> None:
        """Raise SettingsError for settings of views that the domain does not have: they change nothing."""
        given = {
            "cache.ttl_s": self.cache.ttl_s,
            "watch.slow_read_of_s": self.watch.slow_read_of_s,
            "watch.hit_rate_of": self.watch.hit_rate_of,
        }
        told = [
            f"{table}.{name}: there is no such view{meant(name, known)}"
            for table, views in given.items()
            for name in sorted(views.keys() - known)
        ]
        if told:
            raise SettingsError("\n".join(told))


class _Warming(PydanticBaseSettingsSource):
    """ENABLE_BACKGROUND_WARMING -> schedule.enable_background_warming."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401 - pydantic's
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        value = os.environ.get(WARMING_VARIABLE)
        return {"schedule": {"enable_background_warming": value}} if value else {}
