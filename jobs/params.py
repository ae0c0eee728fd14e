"""Parameters of the views. Each parameter is part of an entry's key, so all are bounded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from jobs.fields import Filter, ShortName
from jobs.scopes import Status


def _none_if_empty(value: str | None) -> str | None:
    # An empty text and a missing one mean the same list: one entry, not two.
    return value or None


class Params(BaseModel):
    """Parameters of a view: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ListParams(Params):
    """Filters and page of a user's projects, the most recently updated first."""

    status: Status | None = None
    device_type: ShortName | None = None
    q: Annotated[Filter | None, AfterValidator(_none_if_empty)] = None
    """Part of the name or of the device type, in any case."""
    limit: int = Field(default=20, ge=1, le=100)
    offset: int = Field(default=0, ge=0, le=10_000)


class SearchParams(Params):
    """Search over name, device type and intended use of a user's projects, best match first."""

    query: Annotated[Filter, StringConstraints(min_length=1)]
    limit: int = Field(default=20, ge=1, le=50)


class ExportParams(Params):
    """The form of an export."""

    format: Literal["json", "csv"] = "json"
