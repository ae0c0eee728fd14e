"""Reads the settings of a process, and says what is wrong with them in a line each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from tomllib import TOMLDecodeError
from typing import Any

from pydantic import ValidationError

from stoker.errors import SettingsError
from stoker.settings.file import settings_file, shown
from stoker.settings.typo import meant
from stoker.settings.whole import ENV_PREFIX, Settings


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - whatever a setting takes
    """Arguments, environment and file, in this order; raises SettingsError naming every key that is wrong."""
    _refuse_unknown_tables()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise SettingsError("\n".join(_told(problem) for problem in problems)) from None
    except TOMLDecodeError as error:
        raise SettingsError(f"{_file()}: {error}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{_file()} is not UTF-8: {error}") from None
    except ValueError as error:  # a nested variable that is not JSON
        raise SettingsError(str(error)) from None


def _file() -> str:
    path = settings_file()
    return "settings" if path is None else shown(path)


def _told(problem: Mapping[str, Any]) -> str:
    """A problem in one line: the key, what is wrong with it, and for a misspelt one what was meant."""
    *tables, name = problem["loc"] or ("settings",)
    said = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        said = f"there is no such setting{meant(str(name), _fields(Settings, tables))}"
    return f"{'.'.join(str(part) for part in (*tables, name))}: {said}"


def _fields(model: Any, path: Sequence[object]) -> Mapping[str, Any]:  # noqa: ANN401 - a model, or a field's type
    """The settings that a table has; none where the path leads into no table."""
    for name in path:
        field = getattr(model, "model_fields", {}).get(name)
        model = getattr(field, "annotation", None)
    fields: Mapping[str, Any] = getattr(model, "model_fields", {})
    return fields


def _refuse_unknown_tables() -> None:
    # pydantic-settings ignores variables of the prefix that match no field: a typo would pass in silence.
    known = {name.lower() for name in Settings.model_fields}
    for name in os.environ:
        if name.upper().startswith(ENV_PREFIX):
            table = name[len(ENV_PREFIX) :].split("__")[0].lower()
            if table not in known:
                raise SettingsError(f"{name}: there is no setting {table!r}")
