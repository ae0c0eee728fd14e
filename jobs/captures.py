"""What Postgres records by itself: every table of this application, whoever writes to it.

A deleted project needs no event of its own: Postgres also deletes its rows in the other tables, and records
each of them.
"""

from __future__ import annotations

from jobs.events import (
    ContentsChanged,
    MemberChanged,
    OwnerChanged,
    ProjectChanged,
    UserRenamed,
    UserSwitched,
)
from jobs.rules import CONTENTS, LISTS, NAMING_LISTS, PAGES
from stoker import Capture

PROJECT = {"project_id": "id"}
USER = {"user_id": "id"}

CAPTURES = (
    Capture(
        "projects",
        ProjectChanged,
        PROJECT,
        columns=("name", "status", "device_type", "intended_use", "created_at", "updated_at", "revision"),
        views=PAGES | LISTS,
    ),
    # Rights depend on it, so that it has no `views`: where no rows can be named, every view is invalidated.
    Capture("projects", OwnerChanged, {**PROJECT, "owner_id": "owner_id"}, columns=()),
    # The number of the last change inside a project stands in the project's row. No list shows it.
    Capture("projects", ContentsChanged, PROJECT, columns=("contents_revision",), views=CONTENTS),
    *(
        Capture(table, ContentsChanged, {"project_id": "project_id"}, views=CONTENTS)
        for table in (
            "device_classifications",
            "predicate_devices",
            "project_documents",
            "agent_interactions",
        )
    ),
    Capture("project_members", MemberChanged, {"project_id": "project_id", "user_id": "user_id"}),
    Capture("users", UserRenamed, USER, columns=("name",), views=PAGES | NAMING_LISTS),
    Capture("users", UserSwitched, USER, columns=("active",)),
)
