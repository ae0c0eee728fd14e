"""The inputs of writes, checked here once, before any statement.

In a change, a field that is missing or None stays as it is.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.fields import Body, Name, PersonName, ShortName, Word
from jobs.scopes import Status

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""0 to 1; kept to three decimals."""
DeviceClass = Literal["I", "II", "III"]
ProductCode = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""FDA product code: three letters, as in DQA."""
RegulationNumber = Annotated[str, Field(pattern=r"^[0-9]{3}\.[0-9]{1,4}$")]
"""Section of 21 CFR, as in 870.2700."""
KNumber = Annotated[str, Field(pattern=r"^K[0-9]{6}$")]
"""Number of a 510(k): K, two digits of the year, four more."""
Email = Annotated[str, Field(pattern=r"^[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}$")]


class Input(BaseModel):
    """Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Changes(Input):
    """A change of at least one field."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("at least one field must be given")
        return self


class NewProject(Input):
    """A project to create; its creator owns it."""

    name: Name
    device_type: ShortName
    intended_use: Body = ""
    status: Status = Status.DRAFT


class ProjectChanges(Changes):
    """Columns of the project's own row."""

    name: Name | None = None
    device_type: ShortName | None = None
    intended_use: Body | None = None
    status: Status | None = None


class NewClassification(Input):
    """A classification, current from now on."""

    device_class: DeviceClass
    product_code: ProductCode
    regulation_number: RegulationNumber
    confidence: Share


class ClassificationChanges(Changes):
    """A correction; the classification keeps its place in the history."""

    device_class: DeviceClass | None = None
    product_code: ProductCode | None = None
    regulation_number: RegulationNumber | None = None
    confidence: Share | None = None


class NewPredicate(Input):
    """A device on the market that the project's device is compared with."""

    k_number: KNumber
    device_name: Name
    similarity: Share
    selected: bool = False


class PredicateChanges(Changes):
    """A correction. The K-number identifies the predicate, so it cannot be changed."""

    device_name: Name | None = None
    similarity: Share | None = None
    selected: bool | None = None


class NewDocument(Input):
    """A document that was filed elsewhere."""

    title: Name
    kind: Word
    size_bytes: int = Field(ge=0, le=2**40)


class NewInteraction(Input):
    """What an agent was asked and answered."""

    agent: Word
    summary: Annotated[Body, Field(min_length=1)]


class NewUser(Input):
    """Somebody who may own projects."""

    name: PersonName
    email: Email


class UserName(Input):
    """A user's next name."""

    name: PersonName
