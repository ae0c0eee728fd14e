"""A dead letter before it is written: why a job died, with a fingerprint that groups similar ones.

Whatever a payload or an error holds, its row can be stored: Postgres refuses NUL in texts and JSON.
"""

from __future__ import annotations

import base64
import json
import traceback
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from stoker.numbers import LATEST_S, whole
from stoker.postgres.errors import without_parameters
from stoker.worker.engine.cause import fingerprint, fingerprint_of, since_application

LONGEST_ERROR, LONGEST_TRACEBACK, LONGEST_NAME = 4_000, 20_000, 64
UNKNOWN = "<unknown>"
LARGEST_JSON = 64 * 1024 * 1024
"""Characters of arguments that fit into a JSONB column for certain; larger ones are kept as bytes."""
MOST_ATTEMPTS = 1_000_000
"""More tries than any policy allows, and fewer than the column holds."""


@dataclass(frozen=True)
class Letter:
    """The dead letter of one job."""

    job_id: str
    lane: str
    reason: str
    """failed, exhausted, expired, undecodable or quarantined."""
    attempts: int
    error: str
    fingerprint: str
    kind: str = UNKNOWN
    payload: Any = None
    raw: bytes | None = None
    """The stored bytes, kept when they could not be read."""
    traceback: str | None = None
    enqueued_ms: int = 0

    def caused_by(self, error: BaseException) -> Letter:
        """The same letter with an exception's text, traceback and fingerprint.

        The traceback begins where the application was called: what Stoker did until then tells nothing.
        """
        since = since_application(error)
        lines = without_parameters("".join(traceback.format_exception(type(error), error, since)))
        return replace(
            self,
            error=f"{type(error).__name__}: {without_parameters(str(error))}",
            traceback=lines[-LONGEST_TRACEBACK:],
            fingerprint=fingerprint_of(self.kind, error),
        )

    def as_bytes(self) -> Letter:
        """The same letter in ASCII, its arguments as bytes: for a Postgres that refuses it as it is."""
        raw = self.raw if self.raw is not None else json.dumps(self.payload).encode()
        error, kind = ascii(self.error)[:LONGEST_ERROR], ascii(self.kind)[1:-1]
        return replace(self, error=error, kind=kind, traceback=None, payload=None, raw=raw)

    def row(self) -> dict[str, Any]:
        """The letter as a row of `dead_jobs`."""
        payload, raw = self.payload, self.raw
        # JSON may hold what JSONB does not accept: NUL and lone surrogates. Then the bytes are kept instead.
        text = json.dumps(payload)
        if "\\u0000" in text or "\\ud" in text or len(text) > LARGEST_JSON:
            payload, raw = None, text.encode()
        return {
            "job_id": stored_name(self.job_id),
            "lane": str(self.lane),
            "kind": stored_name(self.kind),
            "payload": payload,
            "raw": None if raw is None else base64.b64encode(raw).decode(),
            "reason": self.reason,
            "error": _text(self.error)[:LONGEST_ERROR],
            "traceback": None if self.traceback is None else _text(self.traceback),
            "fingerprint": self.fingerprint,
            "attempts": whole(self.attempts, most=MOST_ATTEMPTS),
            "enqueued_at": _moment(self.enqueued_ms),
        }


def stored_name(name: str) -> str:
    """A name that fits into a column of 64 characters."""
    text = _text(name)
    # A stock client may choose any id; two long ids must not be shortened to the same one.
    return text if len(text) <= LONGEST_NAME else f"{text[:31]}-{fingerprint(name)}"


def _text(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _moment(ms: int) -> datetime | None:
    return datetime.fromtimestamp(ms / 1000, UTC) if 0 < ms < LATEST_S * 1000 else None
