"""The writes. Each checks in SQL, changes rows and numbers the change, in one transaction.

Postgres records what they change (jobs/captures.py). No write needs Redis. If SQL does not answer, nothing is
changed.
"""

from jobs.writes.contents import ContentWrites
from jobs.writes.members import MemberWrites
from jobs.writes.projects import ProjectWrites
from jobs.writes.users import UserWrites
from jobs.writes.writer import Result, Written

__all__ = ["ContentWrites", "MemberWrites", "ProjectWrites", "Result", "UserWrites", "Writes", "Written"]


class Writes(ProjectWrites, ContentWrites, MemberWrites, UserWrites):
    """All writes of the services.

    Each is its own transaction and returns once it is committed. They raise Forbidden, NotFound and, for an
    impossible change, BadRequest. The receipt tells when the cache shows the change.
    """
