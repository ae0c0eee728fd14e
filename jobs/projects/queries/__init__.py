"""The SQL of the views: every function builds many values of one view in one statement.

The statements are in the `.sql` files, each headed by its arguments and result. They read the time from
nowhere, order totally, and write times in UTC, so that equal rows give equal bytes. What a view may read is
fixed by its rule (rules.py): contents belong to dashboard and export alone.
"""

from jobs.projects.queries.access import access
from jobs.projects.queries.dashboard import dashboards
from jobs.projects.queries.detail import details
from jobs.projects.queries.export import exports
from jobs.projects.queries.listing import lists
from jobs.projects.queries.search import searches
from jobs.projects.queries.stats import stats

__all__ = ["access", "dashboards", "details", "exports", "lists", "searches", "stats"]
