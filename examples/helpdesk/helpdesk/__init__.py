"""A helpdesk of several tenants: what is cached of it, and what makes that wrong.

The setting `domain` names this package. `app.py` serves it, `writes.py` changes it.
"""

from pathlib import Path

from helpdesk.rules import CAPTURES, RULES
from helpdesk.views import AGENT, TENANT, TICKET, VIEWS, WARM_PLANS
from stoker import Domain

domain = Domain(
    name="helpdesk",
    scopes=(TENANT, TICKET, AGENT),
    views=VIEWS,
    rules=RULES,
    captures=CAPTURES,
    warm_plans=WARM_PLANS,
    migrations=Path(__file__).parent / "migrations",
)
