"""A helpdesk of several tenants: what is cached of it, what makes that wrong, and its mails.

The setting `domain` names this package. `app.py` serves it, `writes.py` changes it.
"""

from pathlib import Path

from helpdesk.mails import HANDLERS, MAIL, Remind, maildir
from helpdesk.rules import CAPTURES, RULES
from helpdesk.views import AGENT, TENANT, TICKET, VIEWS, WARM_PLANS
from stoker import MAINTENANCE, Cron, Domain, LatePolicy

domain = Domain(
    name="helpdesk",
    scopes=(TENANT, TICKET, AGENT),
    views=VIEWS,
    rules=RULES,
    captures=CAPTURES,
    warm_plans=WARM_PLANS,
    lanes=(MAIL,),
    handlers=HANDLERS,
    lifespan=maildir,
    schedule=(
        *MAINTENANCE,
        Cron("remind", Remind(), "0 7 * * mon-fri", timezone="Europe/Berlin", late=LatePolicy.SKIP),
    ),
    migrations=Path(__file__).parent / "migrations",
)
