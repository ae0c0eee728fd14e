"""The page about reading, tried as a reader would: its tables, its views with rights, its lines for logs."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import text

from stoker import Domain, Forbidden, InvalidParams, NotFound, Stoker, testing
from stoker.migrate import migrate
from tests.support.place import Place

PAGE = (Path(__file__).parents[2] / "docs" / "reading.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
[RENTAL] = [block for block in BLOCKS if 'name="rental"' in block]
[REVISION] = [block for block in BLOCKS if "def upgrade" in block]
[PLAN] = [block for block in BLOCKS if "warm_plans=" in block]
[LOGS] = [block for block in BLOCKS if "HumanLines" in block]


@pytest.fixture
def rental() -> Iterator[dict[str, Any]]:
    module = sys.modules["rental_of_the_page"] = ModuleType("rental_of_the_page")
    exec(RENTAL, vars(module))  # noqa: S102 - our own page
    yield vars(module)
    del sys.modules["rental_of_the_page"]


async def test_the_pages_tables_are_made_and_its_rights_hold(
    place: Place, rental: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "rental_0001.py").write_text(REVISION)
    domain = replace(rental["domain"], migrations=tmp_path)
    done = await migrate(place.database_url, domain)
    # The test's database comes with the captures of the example application, which this domain does not have.
    assert [line for line in done if not line.startswith("dropped the capture")] == ["rental: rental_0001"]
    async with Stoker.opened(place.settings(), domain) as stoker:
        async with stoker.session() as session, session.begin():
            await session.execute(text("INSERT INTO staff VALUES (1, 'ann', 'chief'), (2, 'bob', 'clerk')"))
            await session.execute(text("INSERT INTO machines VALUES (7, 1, NULL), (8, 1, 'ann')"))
        await its_plan_warms(stoker, domain, rental)
        await rights_hold(stoker)
        await a_booking_shows(stoker, rental)


async def its_plan_warms(stoker: Stoker, domain: Domain, rental: dict[str, Any]) -> None:
    rental["domain"] = domain
    exec(PLAN, rental)  # noqa: S102 - our own page
    async with stoker.session() as session:
        keys = await rental["domain"].warm_plan("active").entries(session, None)
    assert [(key.view, key.scope.id) for key in keys] == [
        ("staff", "1"), ("machines", "1"), ("staff", "2"), ("machines", "2")
    ]  # fmt: skip


async def rights_hold(stoker: Stoker) -> None:
    booked = await stoker.read("machines", 1, {"state": "booked"}, reader="ann")
    assert (booked.value, booked.role) == ([8], "chief")
    with pytest.raises(Forbidden, match="branch:1 is not for this reader"):
        await stoker.read("machines", 1, reader="bob")
    with pytest.raises(Forbidden, match="pass reader="):
        await stoker.read("machines", 1)
    with pytest.raises(Forbidden, match="not for this reader"):
        await stoker.read("bookings", "ann", reader="bob")
    with pytest.raises(InvalidParams, match="stat"):
        await stoker.read("machines", 1, {"stat": "booked"}, reader="ann")
    with pytest.raises(NotFound):
        await stoker.read("machines", 3, reader="ann")


async def a_booking_shows(stoker: Stoker, rental: dict[str, Any]) -> None:
    assert (await stoker.read("machines", 1, reader="ann")).value == [7]
    assert (await stoker.read("bookings", "ann", reader="ann")).value == [8]
    async with stoker.session() as session, session.begin():
        await session.execute(text("UPDATE machines SET clerk = 'ann' WHERE id = 7"))
        stoker.record(session, rental["MachineBooked"](branch_id=1, clerk="ann"))
    await testing.apply(stoker)
    assert (await stoker.read("machines", 1, reader="ann")).value == []
    assert (await stoker.read("bookings", "ann", reader="ann")).value == [7, 8]
    async with stoker.session() as session, session.begin():
        await session.execute(text("DELETE FROM staff WHERE clerk = 'ann'"))
        stoker.record(session, rental["ClerkLeft"](branch_id=1))
    await testing.apply(stoker)
    with pytest.raises((Forbidden, NotFound)):
        await stoker.read("machines", 1, reader="ann")


def test_the_pages_lines_show_the_fields_of_a_log_line(capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("stoker")
    before, propagate = list(library.handlers), library.propagate
    try:
        exec(LOGS, {})  # noqa: S102 - our own page
        logging.getLogger("stoker.cache.breaker").warning("cache.breaker_opened", extra={"reason": "away"})
    finally:
        library.handlers, library.propagate = before, propagate
    assert "cache.breaker_opened reason=away" in capsys.readouterr().err
