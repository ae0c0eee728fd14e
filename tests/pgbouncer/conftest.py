"""Places whose database is reached by way of a pooler that has fewer connections than its clients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import make_url

from stoker import embedded
from stoker.embedded.pgbouncer import PgBouncer
from tests.support.pgbouncer import pooler
from tests.support.place import Place


@pytest.fixture(scope="module")
def bouncer(server_urls: embedded.Urls) -> Iterator[PgBouncer]:
    with pooler(server_urls.database) as running:
        yield running


@pytest.fixture
def direct(place: Place) -> Place:
    """The same place without the pooler."""
    return place


@pytest.fixture
def pooled(direct: Place, bouncer: PgBouncer) -> Place:
    return replace(direct, database_url=bouncer.through(make_url(direct.database_url)))
