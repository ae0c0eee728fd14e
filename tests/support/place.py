"""Where a test works: servers, a database and a prefix of its own; and settings that lead a Stoker there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stoker.settings import Settings, load_settings

PATIENT_S = 60
"""For a read to wait for SQL on a machine that runs other tests as well."""


@dataclass(frozen=True)
class Place:
    """One test's. The fixture `place` makes it."""

    database_url: str
    queue_url: str
    cache_url: str
    prefix: str

    def settings(self, **tables: Any) -> Settings:  # noqa: ANN401 - tables of settings.toml
        """Settings of this place; what is given of these tables comes beside it."""
        own = {name: {"prefix": self.prefix, **tables.pop(name, {})} for name in ("cache", "queue")}
        own["database"] = {"deadline_s": PATIENT_S, **tables.pop("database", {})}
        own["api"] = {"silent_after_s": PATIENT_S, **tables.pop("api", {})}
        return load_settings(
            database_url=self.database_url,
            redis_url=self.queue_url,
            cache_redis_url=self.cache_url,
            **own,
            **tables,
        )

    def environment(self) -> dict[str, str]:
        """The same for a process."""
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.queue_url,
            "CACHE_REDIS_URL": self.cache_url,
            "STOKER__QUEUE__PREFIX": self.prefix,
            "STOKER__CACHE__PREFIX": self.prefix,
        }
