"""The events of projects and users: facts that are recorded in the transaction that made them true.

An event carries the audience that its writer saw, because the rows that name the audience may be gone when it
is applied. Kinds are stored: never rename one.
"""

from __future__ import annotations

from stoker import Event


class ProjectEvent(Event):
    """A change that lists show. `audience`: ids of every user who could see the project, before or after."""

    project_id: int
    audience: tuple[int, ...]


class ProjectCreated(ProjectEvent):
    """A project exists from now on."""

    kind = "project_created"


class ProjectUpdated(ProjectEvent):
    """A column of the project's own row changed."""

    kind = "project_updated"


class ProjectDeleted(ProjectEvent):
    """The project and all it contained are gone."""

    kind = "project_deleted"


class OwnerChanged(ProjectEvent):
    """The project belongs to another user; `audience` has the old and the new one."""

    kind = "owner_changed"


class ContentsEvent(Event):
    """A change inside a project, which only its dashboard and its export show."""

    project_id: int
    item_id: int


class ClassificationAdded(ContentsEvent):
    """A newer classification is current."""

    kind = "classification_added"


class ClassificationUpdated(ContentsEvent):
    """A classification was corrected."""

    kind = "classification_updated"


class ClassificationRemoved(ContentsEvent):
    """A classification is gone; the one before it is current."""

    kind = "classification_removed"


class PredicateAdded(ContentsEvent):
    """A predicate device was found."""

    kind = "predicate_added"


class PredicateUpdated(ContentsEvent):
    """A predicate device was corrected, selected or deselected."""

    kind = "predicate_updated"


class PredicateRemoved(ContentsEvent):
    """A predicate device is gone."""

    kind = "predicate_removed"


class DocumentAdded(ContentsEvent):
    """A document was filed."""

    kind = "document_added"


class DocumentRemoved(ContentsEvent):
    """A document is gone."""

    kind = "document_removed"


class InteractionAdded(ContentsEvent):
    """An interaction with an agent was noted."""

    kind = "interaction_added"


class InteractionRemoved(ContentsEvent):
    """An interaction is gone."""

    kind = "interaction_removed"


class MemberEvent(Event):
    """A change of who may read one project."""

    project_id: int
    user_id: int


class MemberAdded(MemberEvent):
    """A user may read the project from now on."""

    kind = "member_added"


class MemberRemoved(MemberEvent):
    """A user may not read the project any more."""

    kind = "member_removed"


class MemberRoleChanged(MemberEvent):
    """A member may do more, or less."""

    kind = "member_role_changed"


class UserRenamed(Event):
    """A user has another name, which the projects that they own show."""

    kind = "user_renamed"
    user_id: int


class UserDeactivated(Event):
    """A user may read nothing any more. `project_ids`: the projects that they belonged to."""

    kind = "user_deactivated"
    user_id: int
    project_ids: tuple[int, ...]


class UserChanged(Event):
    """Anything else about a user: the plain user-level operation."""

    kind = "user_changed"
    user_id: int
