"""Settings of a demonstration: TTLs and schedule divided by the time scale, to be seen in half a minute."""

from __future__ import annotations

import json
import os

from pydantic import SecretStr

from stoker import Domain
from stoker.embedded import Urls
from stoker.settings import Settings, require
from stoker.worker.schedule.tasks import utc_now

VERIFY_EVERY_S = 20.0
DIGESTS_EVERY_S = 25.0


def scaled(base: Settings, domain: Domain, urls: Urls, prefix: str, time_scale: float) -> Settings:
    """The settings with times divided, on a database and keys of the run's own."""
    ttl_s = {view.name: base.ttl(view.name, view.ttl).total_seconds() / time_scale for view in domain.views}
    cache = {"prefix": prefix, "ttl_s": ttl_s, "fail_safe_s": base.cache.fail_safe_s / time_scale}
    return base.model_copy(
        update={
            "database_url": SecretStr(urls.database),
            "redis_url": SecretStr(urls.queue),
            "cache_redis_url": SecretStr(urls.cache),
            "cache": base.cache.model_copy(update=cache),
            "queue": base.queue.model_copy(update={"prefix": prefix}),
            "schedule": base.schedule.model_copy(update={"every_s": _divided(domain, time_scale)}),
        }
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment of worker and web app: this process's own, and the settings of the run."""
    return {
        **os.environ,
        "DATABASE_URL": require(settings.database_url, "DATABASE_URL"),
        "REDIS_URL": require(settings.redis_url, "REDIS_URL"),
        "CACHE_REDIS_URL": require(settings.cache_redis_url, "CACHE_REDIS_URL"),
        "STOKER__DOMAIN": "jobs",
        "STOKER__CACHE__PREFIX": settings.cache.prefix,
        "STOKER__QUEUE__PREFIX": settings.queue.prefix,
        "STOKER__CACHE__TTL_S": json.dumps(settings.cache.ttl_s),
        "STOKER__CACHE__FAIL_SAFE_S": str(settings.cache.fail_safe_s),
        "STOKER__SCHEDULE__EVERY_S": json.dumps(settings.schedule.every_s),
        # The worker logs that it is ready.
        "STOKER__LOG__LEVEL": "info",
    }


def _divided(domain: Domain, time_scale: float) -> dict[str, float]:
    """Seconds between runs of the schedule; two of them are not divided.

    The verifier builds what it compares, and comes less often; a thirtieth of a week is too long.
    """
    now = utc_now()
    every = {one.name: one.interval(now).total_seconds() / time_scale for one in domain.schedule}
    return {**every, "verify": VERIFY_EVERY_S, "digests": DIGESTS_EVERY_S}
