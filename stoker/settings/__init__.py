"""Settings of everything that a web app imports; a class per table of settings.toml.

The environment wins over the file; unknown keys and impossible values are refused with their name. Nothing
is read at import: `load_settings()` does it, once, where a process starts.
"""

from stoker.settings.file import settings_file
from stoker.settings.load import load_settings
from stoker.settings.postgres import for_driver
from stoker.settings.tables import (
    LONGEST_TTL_S,
    CacheSettings,
    ChangesSettings,
    DatabaseSettings,
    LoaderSettings,
    QueueSettings,
    Table,
)
from stoker.settings.urls import require
from stoker.settings.whole import Settings

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
