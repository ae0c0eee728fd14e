"""The settings file: which one it is, and what of it concerns the process that reads it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic_settings import TomlConfigSettingsSource

from stoker.errors import SettingsError

DEFAULT_FILE = "settings.toml"
FILE_VARIABLE = "STOKER_SETTINGS"
"""Environment variable that names another settings file."""
WORKER_TABLES = frozenset({"worker", "lanes", "schedule", "api", "log"})
"""Tables of settings.toml that only the worker reads (stoker/worker/settings)."""


class File(TomlConfigSettingsSource):
    """settings.toml without the tables that the class being loaded has no business with."""

    def __call__(self) -> dict[str, Any]:
        """What it holds, by key."""
        found = super().__call__()
        known = set(self.settings_cls.model_fields)
        return {key: value for key, value in found.items() if key in known or key not in WORKER_TABLES}


def settings_file() -> Path | None:
    """The settings file of this process: STOKER_SETTINGS, else settings.toml here, else none."""
    named = os.environ.get(FILE_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise SettingsError(f"{FILE_VARIABLE} names {named}, which is not a file")
        return Path(named)
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else None
