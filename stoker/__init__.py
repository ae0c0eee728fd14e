"""Stoker keeps an application's Redis cache correct and warm from a background worker.

An application declares what can be cached, records what changed in its own SQL transaction, and reads through
the cache. A worker process invalidates, refreshes and warms:

    ORDER = ScopeKind("order")
    PAGE = View("page", "order", load_pages, ttl=timedelta(minutes=5), access=Access.ANYONE)
    CHANGED = Rule(OrderChanged, lambda event: [Invalidation(ORDER.scope(event.order_id))])
    domain = Domain(name="shop", scopes=(ORDER,), views=(PAGE,), rules=(CHANGED,))

    async with Stoker.opened(domain=domain) as stoker:
        async with stoker.session() as session, session.begin():
            await session.execute(text("UPDATE orders SET total = 12 WHERE id = 1"))
            receipt = stoker.record(session, OrderChanged(order_id=1))
        await receipt.applied()  # read your own write; the worker applies it within milliseconds
        reading = await stoker.read("page", 1)

README.md has a whole application. docs/glossary.md explains the words, docs/reading.md reading and changing,
docs/architecture.md how it works, docs/api.md every public name.
"""

from typing import TYPE_CHECKING

from stoker.on_first_use import importers, module_of_each

if TYPE_CHECKING:
    from stoker.cache.lookup import Asked
    from stoker.cache.readers import SYSTEM
    from stoker.cache.reading import Reading, State
    from stoker.cache.view import Access, EntryKey, Scope, ScopeKind, View
    from stoker.cache.within import Within
    from stoker.captures.declared import Capture
    from stoker.domain import Domain, SampleData, load_domain
    from stoker.errors import (
        BadRequest,
        CacheUnavailable,
        CommittedNotApplied,
        DatabaseUnavailable,
        DeclarationError,
        Forbidden,
        InvalidParams,
        InvalidResult,
        JobFailed,
        NoResult,
        NotFound,
        QueueUnavailable,
        SettingsError,
        StokerError,
        Unavailable,
        UnknownJob,
        WrongServer,
    )
    from stoker.handlers.context import JobContext
    from stoker.jobs import (
        Invalidate,
        Job,
        KeepWarm,
        Lane,
        Outcome,
        Prune,
        Refresh,
        Relay,
        RetryPolicy,
        Verify,
        Warm,
    )
    from stoker.outbox.receipt import Applied, Receipt, TransactionReceipt
    from stoker.queue.answers import Answer, Enqueued
    from stoker.queue.batches import Batch
    from stoker.rules import Event, Invalidation, Rule
    from stoker.schedule import MAINTENANCE, Cron, Every
    from stoker.settings import LatePolicy, OverlapPolicy, Settings, load_settings
    from stoker.stoker import Stoker
    from stoker.sync import SyncStoker
    from stoker.warm_plans import WarmPlan

__all__ = [  # noqa: RUF022 - sorted as Python does
    "Access",
    "Answer",
    "Applied",
    "Asked",
    "BadRequest",
    "Batch",
    "CacheUnavailable",
    "Capture",
    "CommittedNotApplied",
    "Cron",
    "DatabaseUnavailable",
    "DeclarationError",
    "Domain",
    "Enqueued",
    "EntryKey",
    "Event",
    "Every",
    "Forbidden",
    "InvalidParams",
    "InvalidResult",
    "Invalidate",
    "Invalidation",
    "Job",
    "JobContext",
    "JobFailed",
    "KeepWarm",
    "Lane",
    "LatePolicy",
    "MAINTENANCE",
    "NoResult",
    "NotFound",
    "Outcome",
    "OverlapPolicy",
    "Prune",
    "QueueUnavailable",
    "Reading",
    "Receipt",
    "Refresh",
    "Relay",
    "RetryPolicy",
    "Rule",
    "SYSTEM",
    "SampleData",
    "Scope",
    "ScopeKind",
    "Settings",
    "SettingsError",
    "State",
    "Stoker",
    "StokerError",
    "SyncStoker",
    "TransactionReceipt",
    "Unavailable",
    "UnknownJob",
    "Verify",
    "View",
    "Warm",
    "WarmPlan",
    "Within",
    "WrongServer",
    "load_domain",
    "load_settings",
]

_NAMES = {
    "stoker.cache.lookup": "Asked",
    "stoker.cache.readers": "SYSTEM",
    "stoker.cache.reading": "Reading State",
    "stoker.cache.view": "Access EntryKey Scope ScopeKind View",
    "stoker.cache.within": "Within",
    "stoker.captures.declared": "Capture",
    "stoker.domain": "Domain SampleData load_domain",
    "stoker.errors": (
        "BadRequest CacheUnavailable CommittedNotApplied DatabaseUnavailable DeclarationError "
        "Forbidden InvalidParams InvalidResult JobFailed NoResult NotFound QueueUnavailable "
        "SettingsError StokerError Unavailable UnknownJob WrongServer"
    ),
    "stoker.handlers.context": "JobContext",
    "stoker.jobs": "Invalidate Job KeepWarm Lane Outcome Prune Refresh Relay RetryPolicy Verify Warm",
    "stoker.outbox.receipt": "Applied Receipt TransactionReceipt",
    "stoker.queue.answers": "Answer Enqueued",
    "stoker.queue.batches": "Batch",
    "stoker.rules": "Event Invalidation Rule",
    "stoker.schedule": "MAINTENANCE Cron Every",
    "stoker.settings": "LatePolicy OverlapPolicy Settings load_settings",
    "stoker.stoker": "Stoker",
    "stoker.sync": "SyncStoker",
    "stoker.warm_plans": "WarmPlan",
}
_MODULES = module_of_each(_NAMES)

if not TYPE_CHECKING:
    __getattr__, __dir__ = importers(globals(), _MODULES)
