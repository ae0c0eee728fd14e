"""Traces of worker and API, sent to the endpoint that OpenTelemetry's own variables name; off without one.

Needs the extra `otel`. Variables as the specification names them: OTEL_EXPORTER_OTLP_ENDPOINT turns it on,
OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER and the others work as anywhere.
A collector that is away costs traces, nothing else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@contextmanager
def telemetry(process: str) -> Iterator[None]:
    """Send traces while this lasts, the last ones at its end; `process` names the service by default."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        yield
        return
    try:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an extra
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra
    except ImportError:
        log.warning("telemetry.not_installed", extra={"install": "stoker[otel]"})
        yield
        return
    named = os.environ.get("OTEL_SERVICE_NAME", f"stoker-{process}")
    provider = TracerProvider(resource=Resource.create({"service.name": named}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    log.info("telemetry.on", extra={"service": named})
    try:
        yield
    finally:
        provider.shutdown()
