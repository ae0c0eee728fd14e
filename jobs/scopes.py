"""The scope kinds of this application, and the words for roles and states."""

from __future__ import annotations

from enum import StrEnum

from stoker import ScopeKind

PROJECT = ScopeKind("project")
USER = ScopeKind("user")


class Status(StrEnum):
    """How far a project is."""

    DRAFT = "draft"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


class Role(StrEnum):
    """What a member may do: an owner everything, an editor all but members, transfer and deletion."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"


READERS = frozenset(Role)
WRITERS = frozenset({Role.OWNER, Role.EDITOR})
OWNERS = frozenset({Role.OWNER})
