"""Settings that only the worker, API and CLI read; a class per table of settings.toml.

They add to what `jobs.settings` holds: the same file, the same rules. A web app that imports `jobs` alone
never meets these tables.
"""

from __future__ import annotations

import hashlib
import os
import re
from datetime import time, timedelta
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from jobs.contracts import Lane
from jobs.settings import Settings, Table

WARMING_VARIABLE = "ENABLE_BACKGROUND_WARMING"
TOKEN_NAME = r"^[A-Za-z0-9._-]{1,40}$"  # noqa: S105 - what a name looks like


class Role(StrEnum):
    """What a token may do: a viewer reads, an operator acts too."""

    VIEWER = "viewer"
    OPERATOR = "operator"


class LatePolicy(StrEnum):
    """What becomes of slots that passed while no worker was there."""

    SKIP = "skip"
    """None runs later than schedule.grace_s after its time."""
    ONCE = "once"
    """The newest one runs, late; the others are gone."""
    ALL = "all"
    """Each runs, the oldest first."""


class OverlapPolicy(StrEnum):
    """What becomes of a slot whose task's last job has not ended."""

    SKIP = "skip"
    """It does not run: one job of the task at a time."""
    ALLOW = "allow"
    """It runs beside it."""


class ProcessSettings(Table):
    """Table [worker]: the worker process."""

    stop_deadline_s: PositiveFloat = 25
    """Seconds that running jobs get to finish after SIGTERM. Below the grace period of what stops it."""
    sweep_s: PositiveFloat = 1
    """Seconds between sweeps of unsettled events: the latency of a change when the queue Redis is away."""
    history_every_s: PositiveFloat = 20
    """Seconds between samples of the figures that the console's charts show."""
    metrics_host: str = "127.0.0.1"
    """Address of the worker's own endpoint: probes, and what its process uses."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port of the worker's own endpoint; 0 turns it off (the API's /metrics covers all workers' jobs)."""


class LaneSettings(Table):
    """Tables [lanes.*]: one lane."""

    concurrency: PositiveInt = 4
    """Jobs of the lane that run at once in one worker process."""
    rate_per_s: NonNegativeFloat = 0
    """Jobs of the lane that all workers together begin in a second; 0: no limit. To spare a database."""


class LanesSettings(Table):
    """Table [lanes]."""

    changes: LaneSettings = LaneSettings(concurrency=4)
    refresh: LaneSettings = LaneSettings(concurrency=6)
    warm: LaneSettings = LaneSettings(concurrency=2)

    def by_name(self) -> dict[Lane, LaneSettings]:
        """The settings of each lane."""
        return {Lane.CHANGES: self.changes, Lane.REFRESH: self.refresh, Lane.WARM: self.warm}

    def concurrency(self) -> dict[Lane, int]:
        """Jobs at once, by lane."""
        return {lane: settings.concurrency for lane, settings in self.by_name().items()}


class LateSettings(Table):
    """Table [schedule.late]: by task, what becomes of slots that passed while no worker was there."""

    warm_active: LatePolicy = LatePolicy.ONCE
    """The pages of active users are cold: better late than in half an hour."""
    keep_warm: LatePolicy = LatePolicy.SKIP
    """The next one comes within the minute."""
    verify: LatePolicy = LatePolicy.SKIP
    """The same."""
    prune: LatePolicy = LatePolicy.ONCE
    """Once a day is often enough, and not at all is not."""


class OverlapSettings(Table):
    """Table [schedule.overlap]: by task, what becomes of a slot whose last job has not ended."""

    warm_active: OverlapPolicy = OverlapPolicy.SKIP
    """Two would build the same pages."""
    keep_warm: OverlapPolicy = OverlapPolicy.SKIP
    """The same."""
    verify: OverlapPolicy = OverlapPolicy.SKIP
    """A sample is a sample."""
    prune: OverlapPolicy = OverlapPolicy.SKIP
    """Two would wait for each other's rows."""


class ScheduleSettings(Table):
    """Table [schedule]. Times are UTC; intervals count from the epoch, so every worker has the same slots."""

    enable_background_warming: bool = True
    """Run the two warm schedules. The environment variable is ENABLE_BACKGROUND_WARMING."""
    warm_active_every_s: PositiveFloat = 1800
    """Seconds between warmings of everybody who is active."""
    keep_warm_every_s: PositiveFloat = 60
    """Seconds between rebuilds of hot entries about to expire. Below the shortest TTL of a view."""
    verify_every_s: PositiveFloat = 60
    """Seconds between checks of a sample of entries against SQL."""
    verify_entries: PositiveInt = 100
    """Entries in such a sample: about that many builds of SQL work."""
    prune_at: time = time(3, 0)
    """Time of day at which old events, audit rows and slots are deleted."""
    lease_s: PositiveFloat = 60
    """Seconds after which a slot that was claimed and never done is claimed again."""
    retry_s: PositiveFloat = 5
    """Seconds until a slot whose job could not be enqueued is tried again."""
    grace_s: PositiveFloat = 30
    """Seconds by which a slot may be late under `skip`."""
    late: LateSettings = LateSettings()
    overlap: OverlapSettings = OverlapSettings()

    @field_validator("prune_at", mode="before")
    @classmethod
    def _hours_and_minutes(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the source held
        if isinstance(value, str) and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
            msg = "must be a time of day as HH:MM"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _all_need_overlap(self) -> Self:
        for task in LateSettings.model_fields:
            both = getattr(self.late, task), getattr(self.overlap, task)
            if both == (LatePolicy.ALL, OverlapPolicy.SKIP):
                msg = f'late.{task} = "all" needs overlap.{task} = "allow": late slots are enqueued together'
                raise ValueError(msg)
        return self

    @property
    def prune_offset(self) -> timedelta:
        """`prune_at` as a distance from midnight."""
        return timedelta(hours=self.prune_at.hour, minutes=self.prune_at.minute)


class TokenSettings(Table):
    """A row of [[api.tokens]]."""

    name: str = Field(pattern=TOKEN_NAME)
    """Whose token it is; written to the audit log."""
    role: Role
    """viewer or operator."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """The token's SHA-256 in hex: `printf %s "$TOKEN" | sha256sum`."""
    token: SecretStr | None = Field(default=None, min_length=16)
    """The token itself, where the settings come from a secret store. One of the two."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.sha256 is None) == (self.token is None):
            msg = f"token {self.name!r} needs either sha256 or token"
            raise ValueError(msg)
        return self

    @property
    def digest(self) -> str:
        """The token's SHA-256 in hex."""
        if self.token is not None:
            return hashlib.sha256(self.token.get_secret_value().encode()).hexdigest()
        return self.sha256 or ""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class ApiSettings(Table):
    """Table [api]."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs a token, of these or of `stoker tokens add`."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    body_limit_bytes: PositiveInt = 65536
    """Larger request bodies are answered with 413."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies before the API. What their X-Forwarded-For and -Proto say of
    a caller is believed, nobody else's: for the audit log, the rate of signing in, the cookie's Secure."""
    session_s: PositiveInt = 43200
    """Seconds for which signing in to the console lasts."""
    sign_ins_per_minute: PositiveInt = 10
    """Attempts to sign in from one address; more are answered with 429."""
    actions_per_minute: PositiveInt = 300
    """Invalidations, refreshes and warmings that one token may ask for; more are answered with 429."""
    probe_timeout_s: PositiveFloat = 0.8
    """Seconds that /api/cache/health waits for a server before it says that it is down."""
    tokens: tuple[TokenSettings, ...] = ()
    """Who may ask, beside the tokens of `stoker tokens add`. Without any of either, the API serves loopback
    only, and everybody there is an operator."""

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ip_network(proxy)
            except ValueError:
                msg = f"{proxy!r} is no address and no network (10.0.0.0/8)"
                raise ValueError(msg) from None
        return proxies

    @field_validator("tokens")
    @classmethod
    def _names_differ(cls, tokens: tuple[TokenSettings, ...]) -> tuple[TokenSettings, ...]:
        names = [token.name for token in tokens]
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            msg = f"two tokens are named {doubles[0]!r}"
            raise ValueError(msg)
        return tokens


class LogSettings(Table):
    """Table [log]."""

    format: Literal["human", "json"] = "human"
    """`human` for a terminal, `json` (one object a line) for a log collector."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines that are written."""


class WorkerSettings(Settings):
    """All that the worker process, the API and the CLI need."""

    worker: ProcessSettings = ProcessSettings()
    lanes: LanesSettings = LanesSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    api: ApiSettings = ApiSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """As in `Settings`, with the one variable that reaches into a table by a name of its own."""
        arguments, *others = super().settings_customise_sources(
            settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
        )
        return arguments, _Warming(settings_cls), *others


class _Warming(PydanticBaseSettingsSource):
    """ENABLE_BACKGROUND_WARMING -> schedule.enable_background_warming."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401 - pydantic's
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        value = os.environ.get(WARMING_VARIABLE)
        return {"schedule": {"enable_background_warming": value}} if value else {}
