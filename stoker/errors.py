"""Every error that Stoker raises on purpose, as one tree.

StokerError                      catch this to catch all
├── SettingsError                fix settings.toml or the environment; the message names the key
├── DeclarationError             fix the domain's code: two views of one name, a rule without its scope
├── BadRequest                   the caller asked for something that cannot be; answer 422
│   ├── UnknownView              no view of that name in the domain
│   ├── UnknownScope             no scope kind of that name, or an id that is not of its type
│   ├── UnknownLane              no lane of that name in the domain
│   └── InvalidParams            parameters that the view does not take, or out of range
├── NotFound                     the row is gone; answer 404
├── Forbidden                    SQL refuses this reader; answer 403 (or 404, to say nothing)
├── Unavailable                  a server does not answer; try again later, answer 503
│   ├── CacheUnavailable         the cache Redis; reads go to SQL by themselves
│   ├── QueueUnavailable         the queue Redis; recorded events are applied all the same
│   └── DatabaseUnavailable      Postgres, or it takes no writes
├── WrongServer                  a server answers, but it is not one Stoker can trust
├── InvalidJob                   a payload that does not fit its job
│   └── UnknownJob               a kind that this release does not know; parked, never destroyed
├── InvalidResult                a handler returned what cannot be kept as a result
├── JobFailed                    the job whose result was asked for failed for good, or was cancelled
├── NoResult                     the job has ended, and no result of it is kept
└── CommittedNotApplied          the change is in SQL, the cache may still show the old state

Drivers' errors are translated where the driver is called; nothing is caught wider than needed.
"""

from __future__ import annotations

from datetime import timedelta


class StokerError(Exception):
    """The root of the tree."""


class SettingsError(StokerError):
    """A setting is unknown, impossible or missing; the message names its key."""


class DeclarationError(StokerError):
    """A domain declares something that cannot work."""


class BadRequest(StokerError):
    """The caller asked for something that cannot be.

    `field` names the part of the request that is wrong.
    """

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class UnknownView(BadRequest):
    """The domain declares no such view."""


class UnknownScope(BadRequest):
    """The domain declares no such scope kind, or the id is not of its type."""


class UnknownLane(BadRequest):
    """The domain declares no such lane."""


class InvalidParams(BadRequest):
    """The view does not take these parameters."""


class NotFound(StokerError):
    """What was asked for does not exist in SQL."""


class Forbidden(StokerError):
    """SQL does not allow this reader or writer."""


class Unavailable(StokerError):
    """A server does not answer within its time limit."""


class CacheUnavailable(Unavailable):
    """The cache Redis does not answer."""


class QueueUnavailable(Unavailable):
    """The queue Redis does not answer."""


class DatabaseUnavailable(Unavailable):
    """Postgres does not answer, or takes no writes."""


class WrongServer(StokerError):
    """A server answers, but with a version or a policy that Stoker cannot trust."""


class InvalidJob(StokerError):
    """A payload does not fit its job."""


class UnknownJob(InvalidJob):
    """This release knows no job of that kind."""


class InvalidResult(StokerError):
    """What a handler returned cannot be kept: no JSON, or too large."""


class JobFailed(StokerError):
    """The job whose result was asked for has failed for good, or was cancelled."""


class NoResult(StokerError):
    """The job whose result was asked for has ended, and no result of it is kept."""


class LifespanFailed(StokerError):
    """The domain's `lifespan` raised in a worker; `__cause__` is what it raised."""


class CommittedNotApplied(StokerError):
    """The change is committed, but the cache has not acknowledged it.

    A caller that waits for a removal must not report it as done. The worker applies it as soon as the cache
    answers (RACES 39).
    """

    def __init__(self, event_id: int, waited_s: float) -> None:
        super().__init__(f"event {event_id} is committed but not applied after {waited_s:.1f} s")
        self.event_id = event_id
        self.waited_s = waited_s


class Defer(Exception):
    """A handler's wish to run again after a delay: a control-flow signal, not an error.

    The job goes back to its lane and uses no try. Raised, for example, by a refresh that lost its lease.
    """

    def __init__(self, after: timedelta) -> None:
        super().__init__(f"again in {after.total_seconds():g} s")
        self.after = after


def first_line(error: BaseException | None) -> str:
    """What an error says, on one line; of one that says nothing its class, or that no answer came in time."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    if isinstance(error, FileNotFoundError) and error.filename is None:  # asyncpg's, of a Unix socket
        return f"no server has made the socket that the URL names: {error}"
    return (str(error).splitlines() or [type(error).__name__])[0]
