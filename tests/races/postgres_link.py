"""A wire between a process and Postgres: a Link, and the URL that leads through it."""

from __future__ import annotations

from sqlalchemy import URL

from tests.races.link import Link


async def link_to(url: URL) -> Link:
    """A link to the server of this URL."""
    directory = url.query.get("host")
    port = url.port or url.query.get("port") or 5432
    return await Link(
        f"unix://{directory}/.s.PGSQL.{port}" if directory else f"tcp://{url.host}:{port}"
    ).start()


def through(link: Link, url: URL) -> URL:
    """The same database by way of the link."""
    _, _, port = link.url.removesuffix("/0").rpartition(":")
    return url.set(host="127.0.0.1", port=int(port), query={})
