"""A hit of a 200 KB export from the near cache, against what a round trip costs at all."""

from __future__ import annotations

from redis.asyncio import Redis
from sqlalchemy import text

from bench.blocks import alternate, rate
from bench.figures import Figure
from bench.ground import Bench, forget_events
from stoker import State, Stoker

IDS = ("hit-near", "hit-near-32")
READERS = 32
BODY_BYTES = 200_000
DOCUMENT_BYTES = 200
"""What a document adds to an export, roughly."""
BLOCK_S = 0.5
FILL = text("""
INSERT INTO project_documents (project_id, user_id, title, kind, size_bytes)
SELECT :project, d.user_id, d.title, d.kind, d.size_bytes FROM project_documents d LIMIT :count
""")
BUSIEST = text("""
SELECT p.id, p.owner_id FROM projects p JOIN agent_interactions i ON i.project_id = p.id
 GROUP BY p.id ORDER BY count(*) DESC LIMIT 1
""")


async def measure(bench: Bench) -> list[Figure]:
    """The busiest project's export, made as large as it has to be; access checked at every read."""
    async with bench.stoker() as stoker, Redis.from_url(bench.urls.cache) as redis:
        project, owner = await _large_export(stoker)
        await forget_events(bench.urls.database)
        body = (await stoker.read("export", project, reader=owner)).body
        assert (await stoker.read("export", project, reader=owner)).state is State.HIT
        await redis.set("plain:small", b"0123456789abcdef")
        await redis.set("plain:large", body)

        async def read(_: int) -> bytes:
            return (await stoker.read("export", project, reader=owner)).body

        async def small(_: int) -> object:
            return await redis.get("plain:small")

        async def large(_: int) -> object:
            return await redis.get("plain:large")

        seconds = bench.scale.seconds(BLOCK_S)
        near, ceiling = await alternate(
            bench.scale.blocks, lambda: rate(seconds, read), lambda: rate(seconds, small)
        )
        many, bodies = await alternate(
            bench.scale.blocks,
            lambda: rate(seconds, read, readers=READERS),
            lambda: rate(seconds, large, readers=READERS),
        )
    note = f"{len(body):,} bytes of JSON"
    return [
        Figure("hit-near", "redis-py GET of 16 bytes", "reads/s", ">= 0.9", near, ceiling, note),
        Figure(
            "hit-near-32",
            "redis-py GET of the 200 KB",
            "reads/s",
            ">= 4",
            many,
            bodies,
            f"{note}, 32 readers at once",
        ),
    ]


async def _large_export(stoker: Stoker) -> tuple[int, int]:
    async with stoker.session() as session, session.begin():
        project, owner = (await session.execute(BUSIEST)).tuples().one()
    while True:
        body = (await stoker.read("export", project, reader=owner, bypass=True)).body
        if len(body) >= BODY_BYTES:
            return project, owner
        missing = (BODY_BYTES - len(body)) // DOCUMENT_BYTES + 10
        async with stoker.session() as session, session.begin():
            await session.execute(FILL, {"project": project, "count": missing})
