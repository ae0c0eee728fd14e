"""`python -m tests.stress --changes 100000`: exit code 1 if an update was lost."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from sqlalchemy.ext.asyncio import create_async_engine

from stoker import embedded
from stoker.jobs import JOBS
from stoker.migrate import migrate
from stoker.queue.enqueue import Queue
from tests.stress import builds
from tests.stress.run import Play, Servers, run
from tests.support.engine_stage import settings_of


def main() -> None:
    """Run on servers of its own."""
    given = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    given.add_argument("--changes", type=int, default=100_000)
    given.add_argument("--workers", type=int, default=3)
    given.add_argument("--entries", type=int, default=500)
    given.add_argument("--kill-every", type=float, default=2.0, help="seconds, about")
    given.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    asked = given.parse_args()
    play = Play(asked.changes, asked.entries, asked.workers, asked.kill_every, seed=asked.seed)
    JOBS.update(builds.JOBS)
    with tempfile.TemporaryDirectory() as folder, embedded.start(Path(folder), durable=False) as servers:
        sys.exit(asyncio.run(_run(servers.urls, play)))


async def _run(urls: embedded.Urls, play: Play) -> int:
    await migrate(urls.database, None)
    queue = Queue.from_url(urls.queue, settings_of("stress"))
    sql = create_async_engine(urls.database)
    say(f"seed {play.seed}")
    outcome = await run(Servers(urls.queue, urls.database), queue, sql, play)
    await queue.close()
    await sql.dispose()
    changes = outcome.answers.total()
    say(f"{changes} changes of {play.entries} entries, {outcome.builds} builds, {outcome.seconds:.0f} s")
    say(", ".join(f"{answer} {count}" for answer, count in sorted(outcome.answers.items())))
    say(f"{outcome.kills} kills, {outcome.rescued} rescues, {outcome.quarantined} quarantined by chance")
    say(f"lost updates: {len(outcome.behind)} {outcome.behind or ''}")
    return bool(outcome.behind)


def say(line: str) -> None:
    """To whoever started it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
