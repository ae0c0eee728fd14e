"""Every write: checks in SQL, changes, numbers the change and records its event, in one transaction.

Redis is not needed by any of them. When SQL does not answer nothing has happened.
"""

from jobs.writes.contents import ContentWrites
from jobs.writes.members import MemberWrites
from jobs.writes.projects import ProjectWrites
from jobs.writes.users import UserWrites
from jobs.writes.writer import Result, Written

__all__ = ["ContentWrites", "MemberWrites", "ProjectWrites", "Result", "UserWrites", "Writes", "Written"]


class Writes(ProjectWrites, ContentWrites, MemberWrites, UserWrites):
    """All writes, as the services offer them.

    Each is its own transaction and returns once it is committed. They raise Forbidden, NotFound and, for a
    change that cannot be, BadRequest. The receipt tells when the cache shows the change.
    """
