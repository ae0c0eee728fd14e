"""Settings of web apps, worker, API and command line; a class per table of settings.toml.

Arguments win over the environment, the environment over the file; unknown keys and impossible values are
refused with their name. Nothing is read at import: `load_settings()` does it, once, where a process starts.
"""

from stoker.settings.api import NOBODY, TOKEN_NAME, ApiSettings, Role, TokenSettings, is_loopback
from stoker.settings.file import settings_file, shown
from stoker.settings.load import load_settings
from stoker.settings.postgres import for_driver
from stoker.settings.process import LaneSettings, LanesSettings, LogSettings, ProcessSettings
from stoker.settings.schedule import (
    LatePolicy,
    OverlapPolicy,
    ScheduleSettings,
)
from stoker.settings.tables import (
    LONGEST_TERM_MS,
    LONGEST_TTL_S,
    CacheSettings,
    ChangesSettings,
    DatabaseSettings,
    LoaderSettings,
    QueueSettings,
    Table,
)
from stoker.settings.urls import address_of, require
from stoker.settings.whole import Settings

__all__ = [
    "LONGEST_TERM_MS",
    "LONGEST_TTL_S",
    "NOBODY",
    "TOKEN_NAME",
    "ApiSettings",
    "CacheSettings",
    "ChangesSettings",
    "DatabaseSettings",
    "LaneSettings",
    "LanesSettings",
    "LatePolicy",
    "LoaderSettings",
    "LogSettings",
    "OverlapPolicy",
    "ProcessSettings",
    "QueueSettings",
    "Role",
    "ScheduleSettings",
    "Settings",
    "Table",
    "TokenSettings",
    "address_of",
    "for_driver",
    "is_loopback",
    "load_settings",
    "require",
    "settings_file",
    "shown",
]
