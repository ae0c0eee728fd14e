"""The shop, tested on real servers; no worker has to run."""

import pytest
import shop
from sqlalchemy import text

from stoker import Stoker, testing


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    with testing.servers(tmp_path_factory.mktemp("servers"), shop.domain) as settings:
        yield settings


@pytest.mark.asyncio
async def test_a_page_shows_the_change(settings):
    async with Stoker.opened(settings, shop.domain) as stoker:
        async with stoker.session() as session, session.begin():
            await session.execute(text("CREATE TABLE orders (id bigint PRIMARY KEY, total bigint)"))
            await session.execute(text("INSERT INTO orders VALUES (7, 10)"))
        assert (await stoker.read("page", 7)).value == {"total": 10}
        assert (await stoker.read("page", 7)).state == "hit"

        async with stoker.session() as session, session.begin():
            await session.execute(text("UPDATE orders SET total = 12 WHERE id = 7"))
            stoker.record(session, shop.OrderChanged(order_id=7))
        await testing.apply(stoker)  # what the worker does
        assert (await stoker.read("page", 7)).value == {"total": 12}
