"""Log lines: a constant event and its fields."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from stoker.settings import LogSettings
from stoker.telemetry.log import configure


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_hold_the_event_and_its_fields(stream: io.StringIO) -> None:
    configure(LogSettings(format="json"), stream)
    logging.getLogger("stoker.worker.schedule.runner").info(
        "schedule.enqueued", extra={"task": "prune", "late_s": 0.5}
    )
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "stoker.worker.schedule.runner",
        "event": "schedule.enqueued",
        "task": "prune",
        "late_s": 0.5,
    }


def test_json_lines_stay_one_line_with_a_traceback(stream: io.StringIO) -> None:
    configure(LogSettings(format="json"), stream)
    broken = RuntimeError("half\nway")
    logging.getLogger("any").error("job.failed", extra={"job_id": object()}, exc_info=broken)
    assert stream.getvalue().count("\n") == 1
    assert "half\nway" in json.loads(stream.getvalue())["exception"]


def test_human_lines_quote_what_has_spaces(stream: io.StringIO) -> None:
    configure(LogSettings(), stream)
    logging.getLogger("any").warning("ring.failed", extra={"error": "no answer", "tries": 3})
    assert stream.getvalue().endswith('warning any: ring.failed error="no answer" tries=3\n')


HOSTILE = "\x1b[2J\r\n12:00:00.000 error forged: line\t\x9b31m\u2028\u202e\ud800"


@pytest.mark.parametrize("form", ["json", "human"])
def test_what_strangers_wrote_is_one_line_that_only_prints(stream: io.StringIO, form: str) -> None:
    configure(LogSettings.model_validate({"format": form}), stream)
    broken = RuntimeError(HOSTILE)
    fields = {"error": HOSTILE, "bare": HOSTILE.replace(" ", "")}
    logging.getLogger("any").error("job.failed %s", HOSTILE, extra=fields, exc_info=broken)
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue()[:-1].isprintable()
    assert "RuntimeError" in stream.getvalue()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("stream")
def test_on_a_terminal_a_traceback_has_lines_that_cannot_be_taken_for_others() -> None:
    terminal = _Terminal()
    configure(LogSettings(), terminal)
    logging.getLogger("any").error("job.failed", exc_info=RuntimeError(HOSTILE))
    first, *others = terminal.getvalue()[:-1].split("\n")
    assert first.endswith("error   any: job.failed")
    assert all(line.startswith("  | ") and line.isprintable() for line in others)
    assert others[-1].startswith("  | 12:00:00.000 error forged: line")


def test_lines_below_the_level_are_not_written(stream: io.StringIO) -> None:
    configure(LogSettings(level="warning"), stream)
    logging.getLogger("any").info("ring.done")
    assert stream.getvalue() == ""
