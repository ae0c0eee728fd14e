"""`stoker verify`: compare a sample of the cache with SQL, now."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from stoker.cache.verdicts import Verdict
from stoker.cli.display import Report, note, progress, show_json, table
from stoker.cli.servers import DATA, Data, Embedded, session
from stoker.handlers.verify import Checked, verify_entries
from stoker.settings import Settings
from stoker.stoker import Stoker


def verify(
    data: Data = DATA,
    *,
    entries: Annotated[int, typer.Option(min=1, max=100_000, help="How many entries at most.")] = 500,
    embedded: Embedded = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Compare cached entries with SQL; exit 1 if one is stale. A stale entry is invalidated."""
    with session(embedded=embedded, data=data) as opened, progress("comparing with SQL") as report:
        checked = asyncio.run(_verify(opened.settings, entries, report))
    counts = {str(verdict): checked.counts[verdict] for verdict in Verdict}
    stale = {str(key): round(age.total_seconds(), 3) for key, age in checked.stale.items()}
    if as_json:
        show_json({"verdicts": counts, "stale": stale})
    else:
        table("verified", ("verdict", "entries"), list(counts.items()))
        for key, age_s in stale.items():
            note(f"stale: {key}, built {age_s:.1f} s ago, invalidated now")
    if checked.stale:
        raise typer.Exit(1)


async def _verify(settings: Settings, entries: int, report: Report) -> Checked:
    async with Stoker.opened(settings) as stoker:
        return await verify_entries(stoker, entries, report)
