"""The events of projects and users.

Postgres records all but one of them itself: see jobs/captures.py. Kinds are stored: never rename one.
"""

from __future__ import annotations

from stoker import Event


class ProjectChanged(Event):
    """A column of the project's own row changed, or the project is new or gone."""

    kind = "project_changed"
    project_id: int


class OwnerChanged(Event):
    """A user owns the project, or owned it before: it has another owner, or is new or gone."""

    kind = "owner_changed"
    project_id: int
    owner_id: int


class ContentsChanged(Event):
    """A classification, predicate, document or interaction of the project, which lists do not show."""

    kind = "contents_changed"
    project_id: int


class MemberChanged(Event):
    """A user became a member of the project, ceased to be one, or has another role."""

    kind = "member_changed"
    project_id: int
    user_id: int


class UserRenamed(Event):
    """A user has another name, which the projects that they own show."""

    kind = "user_renamed"
    user_id: int


class UserSwitched(Event):
    """A user was activated or deactivated: inactive users may read nothing."""

    kind = "user_switched"
    user_id: int


class UserChanged(Event):
    """Something about a user changed that no table shows: the application records this one itself."""

    kind = "user_changed"
    user_id: int
