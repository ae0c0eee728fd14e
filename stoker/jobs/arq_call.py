"""A call of a function of an arq application, as a job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field

from stoker.errors import BadRequest
from stoker.jobs.job import Job

Serializer = Callable[[dict[str, Any]], bytes]


class ArqCall(Job):
    """The arguments of one call; each function has a class of its own. Written as arq's clients write it."""

    serialize: ClassVar[Serializer]
    """The application's own `job_serializer`."""
    args: list[Any] = Field(default_factory=list)
    """Positional arguments."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Named ones."""
    job_id: str | None = None
    """arq's `_job_id`: while the queue has a job or a result of this id, no other one is enqueued."""

    def payload(self, now_ms: int) -> bytes:
        """What a worker reads, Stoker's or arq's; raises BadRequest for what cannot be serialized."""
        try:
            return payload_of(type(self).serialize, self.kind, self.args, self.kwargs, now_ms)
        except Exception as error:
            raise BadRequest(
                f"{self.kind}: its arguments cannot be serialized: {error!s:.200}", field="job"
            ) from error


def payload_of(
    serialize: Serializer, kind: str, args: Iterable[Any], kwargs: Mapping[str, Any], now_ms: int
) -> bytes:
    """A call as arq's clients write it."""
    return serialize({"t": None, "f": kind, "a": tuple(args), "k": dict(kwargs), "et": now_ms})
