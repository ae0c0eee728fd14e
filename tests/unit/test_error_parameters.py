"""Errors of statements in job history and dead letters: no values that a statement was given."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from stoker.postgres.errors import without_parameters
from stoker.worker.engine.letter import Letter
from stoker.worker.engine.verdict import shown

ADDRESS = "jo@example.org"


def failed(parameters: Any = ("1", ADDRESS)) -> IntegrityError:  # noqa: ANN401 - as SQLAlchemy takes them
    """An error that was raised, so that it has a traceback."""
    with pytest.raises(IntegrityError) as caught:
        raise IntegrityError("INSERT INTO users", parameters, ValueError("duplicate key"), code="gkpj")
    return caught.value


@pytest.mark.parametrize("parameters", [("1", ADDRESS), {"email": ADDRESS}, [("a\n", ADDRESS)] * 50])
def test_the_parameters_of_a_statement_are_not_shown(parameters: object) -> None:
    error = failed(parameters)
    assert ADDRESS in str(error), "SQLAlchemy has changed: it says no parameters"
    said = without_parameters(str(error))
    assert ADDRESS not in said
    assert "duplicate key" in said
    assert "INSERT INTO users" in said
    assert "(Background on this error" in said


def test_a_dead_letter_and_a_jobs_progress_hide_them() -> None:
    letter = Letter("id", "lane", "failed", 1, "", "").caused_by(failed())
    for said in (letter.error, str(letter.traceback), shown(str(failed()))):
        assert ADDRESS not in said
        assert "[parameters are hidden]" in said
    assert "raise IntegrityError" in str(letter.traceback)


@pytest.mark.parametrize("said", ["", "no [parameters] here", "ValueError: x"])
def test_other_errors_stay_as_they_are(said: str) -> None:
    assert without_parameters(said) == said
