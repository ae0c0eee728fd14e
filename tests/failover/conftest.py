"""A primary and a replica, of this package's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stoker import embedded
from tests.support.place import Place
from tests.support.replicated import Pair, replicated


@pytest.fixture
def pair() -> Iterator[Pair]:
    with replicated() as running:
        yield running


@pytest.fixture
def paired(pair: Pair, server_urls: embedded.Urls, prefix: str) -> Place:
    """Both Redis of the tests, and whichever of the two takes writes."""
    return Place(pair.url, server_urls.queue, server_urls.cache, prefix)
