"""Settings that only the worker, API and CLI read; a class per table of settings.toml.

They add to what `stoker.settings` holds: the same file, the same rules. A web app that imports `jobs` alone
never meets these tables.
"""

from stoker.worker.settings.api import NOBODY, TOKEN_NAME, ApiSettings, Role, TokenSettings, is_loopback
from stoker.worker.settings.process import LaneSettings, LanesSettings, LogSettings, ProcessSettings
from stoker.worker.settings.schedule import (
    LatePolicy,
    LateSettings,
    OverlapPolicy,
    OverlapSettings,
    ScheduleSettings,
)
from stoker.worker.settings.whole import WorkerSettings

__all__ = [
    "NOBODY",
    "TOKEN_NAME",
    "ApiSettings",
    "LaneSettings",
    "LanesSettings",
    "LatePolicy",
    "LateSettings",
    "LogSettings",
    "OverlapPolicy",
    "OverlapSettings",
    "ProcessSettings",
    "Role",
    "ScheduleSettings",
    "TokenSettings",
    "WorkerSettings",
    "is_loopback",
]
