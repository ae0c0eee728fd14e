"""The SQL of the views: every function builds many values of one view in one statement.

The statements are in the `.sql` files, each headed by its arguments and result. They never read the clock,
have a total order, and write times in UTC, so that equal rows give equal bytes. A view may read only what the
captures (captures.py) watch: only dashboard and export read the contents.
"""

from jobs.queries.access import access
from jobs.queries.dashboard import dashboards
from jobs.queries.detail import details
from jobs.queries.export import exports
from jobs.queries.listing import lists
from jobs.queries.search import searches
from jobs.queries.stats import stats

__all__ = ["access", "dashboards", "details", "exports", "lists", "searches", "stats"]
