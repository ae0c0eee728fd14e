"""What the payload of a job says, for those who show jobs: also one of an arq application's queue."""

from __future__ import annotations

from stoker.domain import Domain
from stoker.queue import wire


def stored(domain: Domain, lane: str, payload: bytes) -> wire.Stored:
    """A payload of a lane, read as that lane's workers read it; raises InvalidJob."""
    application = domain.arq_application
    if application is None or lane != application.lane:
        return wire.decode(payload)
    name, args, kwargs, first_try, enqueued_ms = application.read(payload)
    return wire.Stored(name, application.shown(args, kwargs), first_try, enqueued_ms, flag="")
