"""Log lines: a constant event name and its fields, for a terminal or as JSON.

Every module logs `log.info("some.event", extra={...})`; this module formats it, and adds the job and the
trace that a line belongs to. Fields never carry payloads or secrets, but they may hold what strangers wrote:
one event is one line, and nothing in it is acted on by a terminal. Nothing is configured at import.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TextIO

from stoker import tracing
from stoker.settings import LogSettings
from stoker.telemetry.plain import escaped

__all__ = ["HumanLines", "JsonLines"]

_about: ContextVar[Mapping[str, object]] = ContextVar("stoker_log", default=MappingProxyType({}))

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
QUIET = ("alembic", "arq", "asyncio", "uvicorn.access")
"""Loggers of libraries that should log only problems."""


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send every log line of this process to stderr, in the format of the settings."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    human = HumanLines(on_terminal=stream.isatty())
    handler.setFormatter(JsonLines() if settings.format == "json" else human)
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def say_of_task(**about: object) -> None:
    """Every line that this task, and those that it starts, log from now on carries these fields too.

    For a task of its own: nothing is taken back. A task that is left behind at the end of a process is closed
    in another context than its own, where taking it back would fail.
    """
    _about.set({**_about.get(), **about})


def fields(record: logging.LogRecord) -> dict[str, object]:
    """The fields given as `extra`, and those of the job or event around it."""
    given = {name: value for name, value in vars(record).items() if name not in _PLAIN}
    trace_id = tracing.trace_id()
    return {**_about.get(), **({"trace_id": trace_id} if trace_id else {}), **given}


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, event, and the fields beside them."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; what JSON does not know is written as text."""
        line: dict[str, object] = {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)  # in ASCII: whatever is no plain text is escaped


class HumanLines(logging.Formatter):
    """`12:30:01.250 info  stoker.worker.schedule.runner: schedule.enqueued task=prune`."""

    def __init__(self, *, on_terminal: bool = False) -> None:
        super().__init__()
        self._on_terminal = on_terminal

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; on a terminal its traceback follows, on lines marked as its own."""
        clock = _time(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        said = [record.getMessage(), *(f"{name}={_short(value)}" for name, value in fields(record).items())]
        line = f"{clock} {record.levelname.lower():<7} {record.name}: {escaped(' '.join(said))}"
        if not record.exc_info:
            return line
        traceback = self.formatException(record.exc_info)
        if not self._on_terminal:
            return f"{line} exception={_short(traceback)}"
        return "\n".join([line, *(f"  | {escaped(one)}" for one in traceback.split("\n"))])


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _short(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    bare = text and " " not in text and text.isprintable()
    return text if bare else escaped(json.dumps(text, ensure_ascii=False))
