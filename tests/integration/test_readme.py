"""The README's code, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlalchemy import text

from stoker import Applied, State, Stoker
from stoker.handlers.relay import apply_all
from tests.support.place import Place

README = Path(__file__).parents[2] / "README.md"


async def test_the_five_steps_of_the_readme_work(place: Place) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 4
    shop: dict[str, Any] = {}
    exec("\n".join(blocks), shop)  # noqa: S102 - our own README
    async with Stoker.opened(place.settings(), shop["domain"]) as stoker:
        async with stoker.session() as session, session.begin():
            await session.execute(text("CREATE TABLE orders (id bigint PRIMARY KEY, total bigint NOT NULL)"))
            await session.execute(text("INSERT INTO orders VALUES (1, 10)"))
        body, headers = await shop["show_summary"](stoker, 1)
        assert body == b'{"total":10}'
        assert headers["ETag"].startswith('"')
        assert (await stoker.read("summary", 1)).state is State.HIT

        receipt = await shop["change_total"](stoker, 1, 12)
        await apply_all(stoker)  # what the worker of step 5 does
        assert await receipt.applied() is Applied.APPLIED
        assert (await shop["show_summary"](stoker, 1))[0] == b'{"total":12}'
