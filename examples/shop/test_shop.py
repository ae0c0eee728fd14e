"""The shop, tested on real servers; no worker has to run."""

import pytest
import shop
from sqlalchemy import text

from stoker.testing import apply


@pytest.fixture(scope="session")
def stoker_domain():
    return shop.domain


@pytest.mark.asyncio
async def test_a_page_shows_the_change(stoker):
    async with stoker.session() as session, session.begin():
        await session.execute(text(shop.CREATE))
        await session.execute(text("INSERT INTO orders VALUES (7, 10)"))
    assert (await stoker.read("page", 7)).value == {"total": 10}
    assert (await stoker.read("page", 7)).state == "hit"

    async with stoker.session() as session, session.begin():
        await session.execute(text("UPDATE orders SET total = 12 WHERE id = 7"))
        stoker.record(session, shop.OrderChanged(order_id=7))
    await apply(stoker)  # what the worker does
    assert (await stoker.read("page", 7)).value == {"total": 12}
