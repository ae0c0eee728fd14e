"""The strip of servers on a cluster: each primary, and which of them does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.async_api import Browser, expect

from stoker.embedded.cluster import Cluster
from stoker.settings import Settings
from tests.browser.site import ON_ONE_LOOP, Site, furnish, signed_in, window
from tests.support.callers import TOKENS, VIEWER
from tests.support.clusters import running_cluster
from tests.support.freezing import frozen
from tests.support.place import Place

pytestmark = ON_ONE_LOOP


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One whose frozen nodes nobody replaces."""
    with running_cluster(timeout_ms=600_000) as cluster:
        yield cluster


@pytest.fixture
def settings(place: Place, cluster: Cluster) -> Settings:
    return replace(place, cache_url=cluster.url).settings(
        cache={"stats_flush_s": 0.2, "timeout_s": 1}, api={"tokens": TOKENS}
    )


async def test_each_node_is_in_the_strip_and_a_silent_one_is_told_from_the_others(
    browser: Browser, site: Site, cluster: Cluster
) -> None:
    await furnish(site)
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        nodes = page.locator(".servers li", has_text="Node of the cache")
        await expect(nodes).to_have_count(3)
        await expect(nodes.filter(has_text="to answer")).to_have_count(3)
        silent = cluster.primaries[0]
        with frozen(silent):
            down = page.locator(".servers li.down", has_text="Node of the cache")
            await expect(down).to_have_count(1)
            await expect(down).to_contain_text(silent.address)
            await expect(nodes.filter(has_text="to answer")).to_have_count(2)
