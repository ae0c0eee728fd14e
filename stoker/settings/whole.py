"""All settings of a web app: its tables, and what stands outside of every table."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any, Self

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stoker.errors import SettingsError
from stoker.settings.file import File, settings_file
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

ENV_PREFIX = "STOKER__"


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

    domain: str = "jobs"
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
        return None if value is None else SecretStr(asyncpg_url(value.get_secret_value()))

    @field_validator("redis_url", "cache_redis_url")
    @classmethod
    def _one_redis(cls, value: SecretStr | None) -> SecretStr | None:
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
        return init_settings, env_settings, File(settings_cls, settings_file())

    def ttl(self, view: str, declared: timedelta | None) -> timedelta:
        """The TTL of a view: the setting, else what the domain declares, else CACHE_DEFAULT_TTL."""
        if view in self.cache.ttl_s:
            return timedelta(seconds=self.cache.ttl_s[view])
        return declared if declared is not None else timedelta(seconds=self.default_ttl_s)

    def require_views(self, known: Collection[str]) -> None:
        """Raise SettingsError for TTLs of views that the domain does not have: they change nothing."""
        unknown = sorted(self.cache.ttl_s.keys() - known)
        if unknown:
            told = (f"cache.ttl_s.{name}: there is no such view{meant(name, known)}" for name in unknown)
            raise SettingsError("\n".join(told))
