"""Stoker for web apps: cached views, recorded changes, and work asked of the worker.

The words, one for each idea:

view          a cached read model: `detail`, `dashboard`, `access`
scope         the thing whose change makes entries wrong: `project:42`, `user:7`
stamp         a token per (scope, view), and one hard stamp per scope; an entry is valid only under the
              stamps it was built with
entry         one stored value of a view, in its envelope
event         a fact about the database: `ProjectUpdated`
rule          which views of which scopes an event invalidates; declared beside the domain
outbox        the table in which events are recorded in the writer's own transaction
relay         the job that applies recorded events to the cache
job      the typed, versioned arguments of a job (`refresh.v1`)
task          the code that carries out a job
lane          a queue with its own workers: `changes`, `refresh`, `warm`
lease         the right to build one entry; it saves work, only the stamp gives correctness
outcome       the closed set of things that a task can end with
fail-safe     the last value, marked stale, when a loader fails
soft, hard    an invalidation after which fail-safe may, or may not, serve what was before
eager refresh an entry past a share of its TTL that is read asks for its refresh, and is served meanwhile
jitter        the random part of a TTL or a delay, so that what began together does not end together

A web app makes one `Stoker`, declares a `Domain`, and uses `Stoker.read`, `record` and `enqueue`.
"""

from stoker.cache.look import Asked
from stoker.cache.reading import Reading, State
from stoker.cache.view import Access, EntryKey, Scope, ScopeKind, View
from stoker.domain import Domain, Event, Invalidation, Rule, SampleData, WarmPlan, load_domain
from stoker.errors import (
    BadRequest,
    CacheUnavailable,
    CommittedNotApplied,
    DatabaseUnavailable,
    DeclarationError,
    Forbidden,
    InvalidParams,
    NotFound,
    QueueUnavailable,
    SettingsError,
    StokerError,
    Unavailable,
    WrongServer,
)
from stoker.jobs import Invalidate, Lane, Outcome, Refresh, Relay, Warm
from stoker.outbox.receipt import Applied, Receipt
from stoker.queue.enqueue import Answer, Enqueued
from stoker.settings import Settings, load_settings
from stoker.stoker import Stoker

__all__ = [
    "Access",
    "Answer",
    "Applied",
    "Asked",
    "BadRequest",
    "CacheUnavailable",
    "CommittedNotApplied",
    "DatabaseUnavailable",
    "DeclarationError",
    "Domain",
    "Enqueued",
    "EntryKey",
    "Event",
    "Forbidden",
    "InvalidParams",
    "Invalidate",
    "Invalidation",
    "Lane",
    "NotFound",
    "Outcome",
    "QueueUnavailable",
    "Reading",
    "Receipt",
    "Refresh",
    "Relay",
    "Rule",
    "SampleData",
    "Scope",
    "ScopeKind",
    "Settings",
    "SettingsError",
    "State",
    "Stoker",
    "StokerError",
    "Unavailable",
    "View",
    "Warm",
    "WarmPlan",
    "WrongServer",
    "load_domain",
    "load_settings",
]
