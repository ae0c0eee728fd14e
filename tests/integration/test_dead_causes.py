"""Dead letters by cause: real errors of Postgres, and what of them is stored."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.postgres.errors import without_parameters
from stoker.worker.engine.cause import STOKER, application_frame, fingerprint_of
from stoker.worker.engine.letter import Letter
from tests.support.engine_fixtures import sql  # noqa: F401

ADDRESS = "jo@example.org"
STATEMENTS = {
    "no table": "SELECT * FROM nowhere",
    "another table": "SELECT * FROM elsewhere",
    "no column": "SELECT nothing FROM people",
    "no function": "SELECT nothing(7)",
    "taken email": "INSERT INTO people VALUES (3, :email, 1)",
    "taken number": "INSERT INTO people VALUES (1, :email || '2', 1)",
    "missing age": "INSERT INTO people VALUES (4, :email || '3', NULL)",
    "negative age": "INSERT INTO people VALUES (5, :email || '4', -1)",
    "no number": "SELECT CAST('seven' AS integer) + :n",
}
TABLE = (
    "CREATE TABLE people (id bigint PRIMARY KEY, email text UNIQUE, age int NOT NULL CHECK (age > 0))",
    "INSERT INTO people VALUES (1, :email, 7)",
)


async def run(engine: AsyncEngine, statement: str) -> None:
    """The application's one function for all of its SQL."""
    values = {name: value for name, value in {"n": 1, "email": ADDRESS}.items() if f":{name}" in statement}
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)


async def error_of(engine: AsyncEngine, statement: str) -> BaseException:
    with pytest.raises(DBAPIError) as caught:
        await run(engine, statement)
    return caught.value


async def test_different_sql_errors_of_one_function_are_different_causes(sql: AsyncEngine) -> None:  # noqa: F811
    for statement in TABLE:
        await run(sql, statement)
    errors = {name: await error_of(sql, statement) for name, statement in STATEMENTS.items()}
    causes = {fingerprint_of("import.v1", error): name for name, error in errors.items()}
    assert len(causes) == len(STATEMENTS), causes
    for error in errors.values():
        assert application_frame(error) == f"{__name__}:run", "the driver's frame says nothing"
        letter = Letter("id", "lane", "failed", 1, "", "", payload={}).caused_by(error)
        assert ADDRESS not in letter.error + str(letter.traceback)
        assert "DETAIL: hidden" in letter.error or "DETAIL" not in str(error)
    assert ADDRESS in str(errors["taken email"]), "Postgres has changed: it says no values"


def raises() -> None:
    raise ValueError("unlucky")


def test_the_frames_of_stoker_before_the_application_are_left_out() -> None:
    namespace: dict[str, Any] = {"raised": raises}
    source = "def stoker_calls():\n    raised()\n"
    exec(compile(source, f"{STOKER}/worker/engine/made_up.py", "exec"), namespace)  # noqa: S102 - made up
    try:
        namespace["stoker_calls"]()
    except ValueError as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # without this test
        told = str(Letter("id", "lane", "failed", 1, "", "", payload={}).caused_by(error).traceback)
    assert "made_up.py" not in told
    assert ", in raises\n" in told


async def test_one_error_with_other_values_is_one_cause(sql: AsyncEngine) -> None:  # noqa: F811
    for statement in TABLE:
        await run(sql, statement)
    same = [
        ("SELECT CAST('seven' AS integer)", "SELECT CAST('eight' AS integer)"),
        ("INSERT INTO people VALUES (1, 'a', 1)", "INSERT INTO people VALUES (1, 'b', 2)"),
        ("SELECT 1 / 0", "SELECT 17 / 0"),
    ]
    for one, other in same:
        first, second = await error_of(sql, one), await error_of(sql, other)
        assert fingerprint_of("a.v1", first) == fingerprint_of("a.v1", second), one
        assert fingerprint_of("a.v1", first) != fingerprint_of("b.v1", first)


def raised(error: Exception) -> Exception:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_numbers_ids_and_quoted_values_of_a_message_do_not_matter() -> None:
    said = [
        "user 17 of 'Ann' (a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11) at ann@example.org",
        "user 9 of 'Bob' (b1ffcd00-0d1c-4ef9-aa7e-7cc0ce491b22) at bob@example.org",
    ]
    one, other = (fingerprint_of("a.v1", raised(ValueError(text))) for text in said)
    assert one == other != fingerprint_of("a.v1", raised(ValueError("another text")))
    assert one != fingerprint_of("a.v1", raised(KeyError(said[0])))


def test_a_group_of_errors_is_of_the_cause_of_its_first() -> None:
    groups = [ExceptionGroup("in a group", [raised(ValueError(text))]) for text in ("no name", "no mail")]
    assert fingerprint_of("a.v1", groups[0]) != fingerprint_of("a.v1", groups[1])
    assert fingerprint_of("a.v1", groups[0]) == fingerprint_of("a.v1", raised(ValueError("no name")))


@pytest.mark.parametrize("after", ["", "\nHINT:  try it", "\n[SQL: SELECT 1]\n(Background on this error x)"])
def test_the_detail_of_postgres_is_hidden_however_many_lines_it_has(after: str) -> None:
    said = f"duplicate key\nDETAIL:  Failing row contains ({ADDRESS},\n {ADDRESS}).{after}"
    assert without_parameters(said) == f"duplicate key\nDETAIL: hidden{after}"
