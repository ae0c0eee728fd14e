"""OpenTelemetry, where it is installed: from a web app's commit over the relay to the refreshes, one trace.

A span's context travels as W3C `traceparent` text, in an event's row and beside a job's arguments. Without
opentelemetry-api, or without an SDK that records, everything here does nothing and stores nothing. No
decision depends on it: a damaged or missing traceparent begins a trace of its own.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

trace: Any
try:
    from opentelemetry import context as contexts
    from opentelemetry import trace
except ImportError:  # the extra `otel` is not installed
    trace = None

NAME = "stoker"
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
ASK_AGAIN_S = 1.0
"""Seconds between checks whether a process has begun to record spans."""
_untraced_until_s = 0.0
Attributes = Mapping[str, str | int | float]


def current() -> str | None:
    """The traceparent of the span that is active here; None without one that is recorded."""
    return None if trace is None or not contexts.get_current() else _written(trace.get_current_span())


def trace_id() -> str | None:
    """The id of the active trace, as log lines show it."""
    if trace is None:
        return None
    found = trace.get_current_span().get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else None


@contextmanager
def resumed(traceparent: str | None) -> Iterator[None]:
    """Make a stored traceparent the parent of what begins inside; None changes nothing."""
    parent = None if trace is None else _parsed(traceparent)
    if parent is None:
        yield
        return
    token = contexts.attach(trace.set_span_in_context(trace.NonRecordingSpan(parent)))
    try:
        yield
    finally:
        contexts.detach(token)


@contextmanager
def span(name: str, kind: str = "internal", attributes: Attributes | None = None) -> Iterator[str | None]:
    """A span around what happens inside, with the error that leaves it; gives its traceparent.

    `kind` as OpenTelemetry names it: internal, producer, consumer.
    """
    if trace is None or _nobody_records():
        yield None
        return
    tracer = trace.get_tracer(NAME)
    kinds = trace.SpanKind[kind.upper()]
    with tracer.start_as_current_span(name, kind=kinds, attributes=attributes) as opened:
        yield _written(opened)


@contextmanager
def span_of_task(name: str, kind: str, attributes: Attributes) -> Iterator[None]:
    """As `span`, around all that is left of a task of its own; its context is not taken back.

    A task that is left behind at the end of the process is closed in another context, where that would fail,
    and when nobody takes spans any more: its span is dropped.
    """
    if trace is None or _nobody_records():
        yield
        return
    opened = trace.get_tracer(NAME).start_span(name, kind=trace.SpanKind[kind.upper()], attributes=attributes)
    contexts.attach(trace.set_span_in_context(opened))
    try:
        yield
    except Exception as error:
        opened.record_exception(error)
        opened.set_status(trace.Status(trace.StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        raise
    finally:
        if not isinstance(sys.exception(), GeneratorExit):
            opened.end()


def recorded(
    name: str, traceparent: str | None, started_ns: int, attributes: Attributes | None = None
) -> str | None:
    """A span that has ended now, under a stored parent; gives its traceparent. Times are of the wall clock.

    For one piece of work that belongs to many traces: a batch of events is applied once.
    """
    parent = None if trace is None else _parsed(traceparent)
    if parent is None:
        return None
    around = trace.set_span_in_context(trace.NonRecordingSpan(parent))
    done = trace.get_tracer(NAME).start_span(
        name,
        around,
        kind=trace.SpanKind.CONSUMER,
        attributes=attributes,
        start_time=started_ns,
    )
    done.end()
    return _written(done)


def _nobody_records() -> bool:
    # Asking the API costs as much as recording an event; while nothing records spans, it is asked once a
    # second.
    global _untraced_until_s  # noqa: PLW0603 - of the process, as the provider is
    now_s = time.monotonic()
    if now_s < _untraced_until_s:
        return True
    untraced = type(trace.get_tracer_provider()) is trace.ProxyTracerProvider
    if untraced:
        _untraced_until_s = now_s + ASK_AGAIN_S
    return untraced


def _written(found: Any) -> str | None:  # noqa: ANN401 - a span
    context = found.get_span_context()
    if not context.is_valid or not context.trace_flags.sampled:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _parsed(traceparent: str | None) -> Any:  # noqa: ANN401 - a span context, or None
    match = TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        return None
    return trace.SpanContext(
        trace_id=int(match[1], 16),
        span_id=int(match[2], 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(match[3], 16)),
    )
