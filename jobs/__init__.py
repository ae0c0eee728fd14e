"""The jobs of this application, a regulatory app for medical devices: its views, rules, jobs and schedule.

It uses only public names of `stoker`, like any application. The web app writes to its tables, reads through
the views, and enqueues jobs; it never touches the cache inline. `worker` is the process that runs the jobs.

    captures                                Postgres records an event for each change of a table; the worker
                                            applies it: see jobs/rules.py for what each event invalidates
    Invalidate, Refresh, Warm               jobs that the web app may enqueue, by `stoker.enqueue(…)`
    WriteExport                             its own job, which it requests in a transaction, by
                                            `stoker.enqueue_in(session, …)`: a file of a project
    WriteDigests                            its own job of every week: a file of each user's projects
    detail, dashboard, export, access       views of a project
    list, stats, search                     views of a user
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from jobs.captures import CAPTURES
from jobs.files import FILES, HANDLERS, WriteDigests, WriteExport
from jobs.rules import RULES
from jobs.sample import is_empty, load
from jobs.scopes import PROJECT, USER
from jobs.views import VIEWS
from jobs.warming import WARM_PLANS
from stoker import (
    Cron,
    Domain,
    Every,
    Invalidate,
    KeepWarm,
    LatePolicy,
    Prune,
    Refresh,
    SampleData,
    Verify,
    Warm,
)

SCHEDULE = (
    # ENABLE_BACKGROUND_WARMING=false leaves out the first two.
    Every("warm_active", Warm(), timedelta(minutes=30)),
    # A dashboard lives for five minutes: without this one it would be cold for 25 of those 30.
    Every("keep_warm", KeepWarm(), timedelta(minutes=1), late=LatePolicy.SKIP),
    Every("verify", Verify(), timedelta(minutes=1), late=LatePolicy.SKIP),
    Cron("prune", Prune(), "3 * * * *"),
    # Late slots are skipped: `stoker schedule run digests` writes them at any time.
    Cron("digests", WriteDigests(), "0 6 * * mon", timezone="Europe/Berlin", late=LatePolicy.SKIP),
)

domain = Domain(
    name="projects",
    scopes=(PROJECT, USER),
    views=VIEWS,
    rules=RULES,
    captures=CAPTURES,
    warm_plans=WARM_PLANS,
    lanes=(FILES,),
    handlers=HANDLERS,
    schedule=SCHEDULE,
    migrations=Path(__file__).with_name("migrations"),
    sample_data=SampleData(load=load, is_empty=is_empty),
)

__all__ = ["Invalidate", "Refresh", "Warm", "WriteDigests", "WriteExport", "domain"]
