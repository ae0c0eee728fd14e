"""Writes settings.toml from the code: each setting with its field's docstring and its default. `make docs`.

Names are written out (`cache.lease_s`), as messages and pages write them, so that those which matter most can
stand first.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from datetime import time
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from stoker.settings import Settings

FILE = Path(__file__).parents[2] / "settings.toml"
OURS = {"domain": "jobs"}
"""What the application of this repository sets."""
FIRST = (
    *("domain", "database_url", "redis_url", "cache_redis_url"),
    *("default_ttl_s", "cache.ttl_s", "schedule.enable_background_warming"),
    *("loaders.connections", "lanes.refresh.concurrency", "log.format"),
)
"""The settings that an application most often needs, and those that it cannot do without."""
ENVIRONMENT = {"schedule.enable_background_warming": "ENABLE_BACKGROUND_WARMING"}
HEAD = """\
# Every setting of Stoker with its default, made from the code by `make docs`. A file of yours needs only what
# you change; tables ([cache], then lease_s = 30) are the same as whole names. The environment wins: there
# cache.lease_s is STOKER__CACHE__LEASE_S, and a few have a name of their own, which stands with them. Unknown
# keys are refused. Names end in their unit: _s seconds, _ms milliseconds, _bytes.
"""
WIDTH = 110


class Setting(NamedTuple):
    """One setting: its name as messages write it, its default, what it does, its variable if it has one."""

    name: str
    default: Any
    text: str
    variable: str | None


def page() -> str:
    """The file, as the code has it now."""
    found = {one.name: one for one in settings()}
    parts = [HEAD, _heading("The ten that matter most"), *(_written(found.pop(name)) for name in FIRST)]
    table = ""
    for one in found.values():
        own = one.name.rpartition(".")[0]
        if own != table:
            table = own
            parts.append(_heading(table))
        parts.append(_written(one))
    return "\n".join(parts)


def settings(model: type[BaseModel] = Settings, default: Any = None, path: str = "") -> Iterator[Setting]:  # noqa: ANN401 - of any model
    """Every setting, in the order of the code."""
    texts = docstrings(model)
    for name, field in model.model_fields.items():
        value = (
            getattr(default, name) if default is not None else field.get_default(call_default_factory=True)
        )
        if isinstance(value, BaseModel):
            yield from settings(type(value), value, f"{path}{name}.")
        else:
            whole = f"{path}{name}"
            yield Setting(whole, value, texts[name], ENVIRONMENT.get(whole) or _alias(field))


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings of a model's fields; raises KeyError later for one that has none."""
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)
    return {
        ast.unparse(field.target): " ".join(str(text.value.value).split())
        for field, text in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def _alias(field: FieldInfo) -> str | None:
    choices = getattr(field.validation_alias, "choices", [])
    return next((str(one) for one in choices if str(one).isupper()), None)


def _heading(text: str) -> str:
    return f"\n# {text} {'-' * (60 - len(text))}\n"


def _written(one: Setting) -> str:
    # In the file a reference to the table of races leads nowhere.
    text = re.sub(r" \(RACES [\d, ]+\)", "", one.text) + (
        f" Environment: {one.variable}." if one.variable else ""
    )
    comment = textwrap.fill(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
    return f"{comment}\n{one.name} = {_toml(OURS.get(one.name, one.default))}\n"


def _toml(value: Any) -> str:  # noqa: ANN401 - a default
    if value is None or isinstance(value, SecretStr):
        return '""'
    if isinstance(value, time):
        return json.dumps(f"{value:%H:%M}")
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def main() -> None:
    """Write the file."""
    FILE.write_text(page())


if __name__ == "__main__":
    main()
