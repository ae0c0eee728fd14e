"""Settings of everything that a web app imports; a class per table of settings.toml.

The environment wins over the file; unknown keys and impossible values are refused with their name. Nothing
is read at import: `load_settings()` does it, once, where a process starts.
"""

from jobs.settings.file import settings_file
from jobs.settings.load import load_settings
from jobs.settings.postgres import for_driver
from jobs.settings.tables import (
    LONGEST_TTL_S,
    CacheSettings,
    ChangesSettings,
    DatabaseSettings,
    LoaderSettings,
    QueueSettings,
    Table,
)
from jobs.settings.urls import require
from jobs.settings.whole import Settings

__all__ = [
    "LONGEST_TTL_S",
    "CacheSettings",
    "ChangesSettings",
    "DatabaseSettings",
    "LoaderSettings",
    "QueueSettings",
    "Settings",
    "Table",
    "for_driver",
    "load_settings",
    "require",
    "settings_file",
]
