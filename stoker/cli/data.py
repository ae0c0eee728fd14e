"""Commands about the database and the settings: `migrate`, `sample-data`, `check`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import migrate as migrations
from stoker.cli.display import note, progress, show, show_json
from stoker.cli.servers import DATA, Data, Embedded, Json, session
from stoker.coverage import warnings as coverage
from stoker.domain import Domain, SampleData, load_domain
from stoker.errors import StokerError
from stoker.outbox import seal_keys
from stoker.outbox.identity import NOTE_S
from stoker.postgres import database_errors, engine_of
from stoker.settings import Settings, load_settings, require, settings_file, shown
from stoker.telemetry import log
from stoker.worker import agreement
from stoker.worker import check as checks
from stoker.worker.findings import Finding, Level

SEED = 1
DATABASE_ONLY = ("database_url",)


class Part(StrEnum):
    """Whose tables to migrate."""

    STOKER = "stoker"
    DOMAIN = "domain"


class NotEmpty(StokerError):
    """The database is not empty: sample data is only loaded into an empty one."""


def migrate(  # noqa: PLR0913 - one for each option
    data: Data = DATA,
    only: Annotated[Part | None, typer.Option(help="Only Stoker's own tables, or only the domain's.")] = None,
    *,
    embedded: Embedded = False,
    new_installation: Annotated[
        bool,
        typer.Option("--new-installation", help="After restoring a backup: use no cache entry from before."),
    ] = False,
    take_queue: Annotated[
        bool,
        typer.Option("--take-queue", help="Take over the queue of an installation that is gone."),
    ] = False,
    rotate_key: Annotated[
        bool,
        typer.Option("--rotate-key", help="Seal cache entries with a new key; the cache stays warm."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the database up to date. Safe to run twice, or from two hosts at once."""
    with session(embedded=embedded, data=data, needs=DATABASE_ONLY) as opened:
        domain = None if only is Part.STOKER else load_domain(opened.settings.domain)
        schema = opened.settings.database.schema_name
        applied = asyncio.run(migrations.migrate(opened.database_url, domain, only, schema=schema, say=note))
        renewed = asyncio.run(_renew(opened.settings)) if new_installation else None
        if rotate_key:
            asyncio.run(_rotate_key(opened.settings))
        if take_queue:
            asyncio.run(agreement.take_queue(opened.settings))
        if as_json:
            show_json({"applied": applied, "installation": renewed})
            return
        for name in applied:
            show(name if name.startswith(("made ", "dropped ")) else f"applied {name}")
        if not applied:
            show("nothing to apply")
        if renewed is not None:
            show(f"installation {renewed}")


def sample_data(
    data: Data = DATA,
    users: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Number of users; the other tables grow with it."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same data.")] = SEED,
    *,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """Fill an empty database with plausible data."""
    with session(embedded=embedded, data=data, needs=DATABASE_ONLY) as opened:
        domain = load_domain(opened.settings.domain)
        schema = opened.settings.database.schema_name
        asyncio.run(migrations.require_migrated(opened.database_url, domain, schema=schema))
        rows = asyncio.run(_fill(opened.database_url, domain, users, seed))
        if as_json:
            show_json(rows)


def check(
    data: Data = DATA,
    *,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """Print what is wrong with settings and servers; exit 1 on errors, 2 without URLs."""
    path = settings_file()
    note("no settings file: environment and defaults" if path is None else f"settings from {shown(path)}")
    if embedded:
        with session(embedded=True, data=data) as opened:
            _check(opened.settings, as_json=as_json)
        return
    settings = load_settings()
    log.configure(settings.log)
    _check(settings, as_json=as_json)


async def _renew(settings: Settings) -> str:
    """Give the installation a new id, and its queue, too, if REDIS_URL is set."""
    url = require(settings.database_url, "DATABASE_URL")
    former = await migrations.installation_of(url, schema=settings.database.schema_name)
    renewed = await migrations.renew_installation(url, schema=settings.database.schema_name)
    if settings.redis_url is None:
        note("REDIS_URL is not set: workers will refuse the old id's queue; set it and give --take-queue")
    elif not await agreement.take_queue(settings, of=former):
        note("the queue belongs to another installation: give --take-queue if that one no longer runs")
    return renewed


async def _rotate_key(settings: Settings) -> None:
    url = require(settings.database_url, "DATABASE_URL")
    engine = engine_of(url, schema=settings.database.schema_name)
    try:
        await seal_keys.rotate(engine)
    finally:
        await engine.dispose()


async def fill_if_empty(database_url: str, domain: Domain) -> None:
    """Load sample data for `up`, unless the database holds data or the domain has no sample data."""
    if domain.sample_data is not None and await _is_empty(database_url, domain.sample_data):
        await _fill(database_url, domain, None, SEED)


async def _fill(database_url: str, domain: Domain, users: int | None, seed: int) -> dict[str, int]:
    sample = domain.sample_data
    if sample is None:
        raise StokerError(f"the domain {domain.name} has no sample data: give it Domain(sample_data=...)")
    if not await _is_empty(database_url, sample):
        raise NotEmpty("the database is not empty: sample data is only loaded into an empty one")
    with progress("sample data") as report:
        rows = await sample.load(database_url, seed, users or sample.default_users, report)
    note("loaded " + ", ".join(f"{count:,} {table}" for table, count in rows.items()))
    return dict(rows)


async def _is_empty(database_url: str, sample: SampleData) -> bool:
    engine = engine_of(database_url)
    try:
        with database_errors():
            async with AsyncSession(engine) as opened:
                return await sample.is_empty(opened)
    finally:
        await engine.dispose()


async def _findings(settings: Settings) -> list[Finding]:
    found = await checks.check(settings, patience_s=NOTE_S + 2)
    if settings.database_url is None or any(finding.level is Level.ERROR for finding in found):
        return found  # otherwise views may not be there to be asked
    url, schema = settings.database_url.get_secret_value(), settings.database.schema_name
    said = await coverage.warnings(url, load_domain(settings.domain), schema=schema)
    return [*found, *(Finding(Level.WARNING, one) for one in said)]


def _check(settings: Settings, *, as_json: bool) -> None:
    found = asyncio.run(_findings(settings))
    if as_json:
        show_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            show(f"{finding.level}: {finding.message}")
        if not found:
            show("settings and servers: no problem found")
    if settings.database_url is None or settings.redis_url is None:
        raise typer.Exit(2)
    if any(finding.level is Level.ERROR for finding in found):
        raise typer.Exit(1)
