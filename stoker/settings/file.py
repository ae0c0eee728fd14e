"""The settings file of a process: which one it is.

STOKER_SETTINGS names it. Without that, it is the first `stoker.toml` or `settings.toml` from the working
directory upwards, as far as the first folder with `pyproject.toml` or `.git`. Where no folder has either,
only the working directory counts: a file in a folder that others may write to is never taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stoker.errors import SettingsError

FILE_VARIABLE = "STOKER_SETTINGS"
"""Environment variable that names the settings file."""
NAMES = ("stoker.toml", "settings.toml")
ROOT_MARKS = ("pyproject.toml", ".git")


def settings_file() -> Path | None:
    """The settings file of this process, None if there is none; raises SettingsError."""
    named = os.environ.get(FILE_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise SettingsError(f"{FILE_VARIABLE} names {named}, which is not a file")
        return Path(named)
    found = (folder / name for folder in _folders(Path.cwd()) for name in NAMES)
    return next((path for path in found if path.is_file()), None)


def shown(path: Path) -> str:
    """The path as messages show it: relative to the working directory where it is below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _folders(here: Path) -> Iterator[Path]:
    upwards = [here, *here.parents]
    roots = [index for index, folder in enumerate(upwards) if _is_root(folder)]
    yield from upwards[: roots[0] + 1] if roots else [here]


def _is_root(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in ROOT_MARKS)
