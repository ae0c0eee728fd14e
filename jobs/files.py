"""Jobs that write files for users: the weekly digest of their projects, and the export that one asked for.

They read through the cache, which checks what the user may see now. A second run writes the same file again.
The worker's folder for them is EXPORTS_DIR, `exports` where that is not set.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from jobs.queries.warm import active_users
from jobs.views import EXPORT, LIST
from stoker import Forbidden, Job, JobContext, Lane, NotFound

FILES = Lane("files", concurrency=2)
WEEK = timedelta(days=7)


class WriteDigests(Job):
    """A digest for everybody who was active within a week."""

    kind = "digests.write.v1"
    lane = FILES

    def coalesce_key(self) -> str:
        """One that has not begun is enough."""
        return self.kind


class WriteDigest(Job):
    """The digest of one user: their projects, the most recently updated first."""

    kind = "digest.write.v1"
    lane = FILES
    user_id: int

    def coalesce_key(self) -> str:
        """The same."""
        return f"{self.kind}|{self.user_id}"


class WriteExport(Job):
    """The export of a project that a user asked for; its number is that of the interaction that says so."""

    kind = "export.write.v1"
    lane = FILES
    keep_result = timedelta(hours=1)
    number: int
    project_id: int
    user_id: int
    format: Literal["json", "csv"]


async def write_digests(context: JobContext, _job: WriteDigests) -> None:
    """Ask for each digest by itself, so that one that fails is retried alone."""
    async with context.stoker.session() as session:
        users = await active_users(session, WEEK)
    await context.stoker.enqueue_many([WriteDigest(user_id=number) for number in users])


async def write_digest(context: JobContext, job: WriteDigest) -> None:
    """Write the digest; a user who may see nothing any more gets none."""
    try:
        reading = await context.stoker.read(LIST, job.user_id, reader=job.user_id)
    except (Forbidden, NotFound) as error:
        context.logger.info("digest.refused", extra={"error": str(error)})
        return
    await _write(context, f"digest-user-{job.user_id}.md", digest(reading.value))


async def write_export(context: JobContext, job: WriteExport) -> str | None:
    """Write the export and return the file's name; None for a user who has lost the right to it since."""
    try:
        reading = await context.stoker.read(
            EXPORT, job.project_id, {"format": job.format}, reader=job.user_id
        )
    except (Forbidden, NotFound) as error:
        context.logger.info("export.refused", extra={"error": str(error)})
        return None
    name = f"export-{job.number}-project-{job.project_id}.{job.format}"
    await _write(context, name, reading.value["text"] if job.format == "csv" else reading.body.decode())
    return name


HANDLERS: Mapping[type[Job], Callable[[Any, Any], Any]] = {
    WriteDigests: write_digests,
    WriteDigest: write_digest,
    WriteExport: write_export,
}


def digest(page: Mapping[str, Any]) -> str:
    """The text of a digest, from the first page of a user's projects."""
    lines = [f"- {one['name']} ({one['status']}), updated {one['updated_at'][:10]}" for one in page["items"]]
    return "\n".join([f"# Your projects: {page['total']}", "", *lines, ""])


def exports_folder() -> Path:
    """Where this process writes files."""
    return Path(os.environ.get("EXPORTS_DIR", "exports"))


async def _write(context: JobContext, name: str, content: str) -> None:
    def write() -> None:
        folder = exports_folder()
        folder.mkdir(parents=True, exist_ok=True)
        # Whole or not at all: whoever opens the file sees no half of it.
        part = folder / f".{name}.{context.job_id}"
        part.write_text(content, newline="")
        part.replace(folder / name)

    await asyncio.to_thread(write)
