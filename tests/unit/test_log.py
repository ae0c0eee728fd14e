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


def test_lines_below_the_level_are_not_written(stream: io.StringIO) -> None:
    configure(LogSettings(level="warning"), stream)
    logging.getLogger("any").info("ring.done")
    assert stream.getvalue() == ""
