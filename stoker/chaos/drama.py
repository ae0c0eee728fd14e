"""One run from start to end: stage, traffic, faults, the last act, rest, checks, report."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from random import Random

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from stoker import Domain, Stoker
from stoker.chaos import acts, effects, faults, lanes, mischief, requests
from stoker.chaos.audit import Ledger
from stoker.chaos.driver import Act, Driver
from stoker.chaos.environment import PREFIX, environment_of, settings_of
from stoker.chaos.faults import Kind, Planned, network, queue
from stoker.chaos.options import ChaosOptions
from stoker.chaos.program import Facts, interruptible, performed
from stoker.chaos.report import ended, report, text
from stoker.chaos.scene import Scene
from stoker.chaos.slots import WORKER_READY, Slot, started
from stoker.chaos.stage import placed
from stoker.chaos.tally import Recovery, Tally, Trouble
from stoker.chaos.topology import Servers, arranged
from stoker.chaos.workload import Workload, load_workload
from stoker.domain import load_domain
from stoker.embedded import Embedded
from stoker.migrate import migrate

INTRUSIONS = 0.1
"""Share of requests whose readers must be refused."""
ROLES = ("worker", "webapp")
MISCHIEF_PER_S = 2.0
REQUESTS_PER_S = 4.0
RECOVERED_WITHIN_S = 20.0
POLL_S = 0.05
LAST_CHANGES = 6
"""Changes of the last act, made while the queue is away: no ring announces them."""


def perform(options: ChaosOptions) -> int:
    """See `stoker.chaos.run`."""
    return performed("chaos", partial(_play, options), options.json, say)


def say(message: str) -> None:
    """Print what happens, in addition to the report."""
    sys.stderr.write(f"{message}\n")


def _play(options: ChaosOptions) -> Facts:
    workload = load_workload(options.workload)
    cluster = options.topology == "cluster"
    with placed("chaos", options.data_dir, keep=options.keep, durable=False, cluster=cluster) as place:
        assert place.servers is not None  # noqa: S101 - none were given
        found = interruptible(partial(_whole, options, workload, place.servers, place.sockets))
    sys.stdout.write(text(found))
    return found


async def _whole(options: ChaosOptions, workload: Workload, servers: Embedded, folder: Path) -> Facts:
    domain = load_domain(workload.domain)
    await migrate(servers.urls.database, domain)
    await workload.prepare(servers.urls.database, options.seed)
    # Unlike a web app, the driver must see a restart of Postgres as an error at once.
    sql = create_async_engine(
        servers.urls.database, pool_pre_ping=True, connect_args={"timeout": 2, "command_timeout": 5}
    )
    try:
        await effects.make_tables(sql)
        names = [name for role in ROLES for name in _names(role, options)]
        with arranged(options.topology, servers) as arrangement:
            async with network.linked(arrangement.reached, names) as links:
                ground = Ground(arrangement, links, folder, acts.changed(domain), sql)
                scene = await _scene(options, workload, ground)
                async with _processes(scene):
                    await _act(options, scene)
                    say("at rest: everything settles, then it is counted")
                    found = await report(options, scene)
                return ended(found, scene)
    finally:
        await sql.dispose()


@dataclass(frozen=True)
class Ground:
    """What there is before the processes and the users."""

    servers: Servers
    links: Mapping[str, network.Links]
    folder: Path
    domain: Domain
    sql: AsyncEngine


async def _scene(options: ChaosOptions, workload: Workload, ground: Ground) -> Scene:
    def slot(role: str, name: str) -> Slot:
        urls = network.urls_by(ground.links[name], ground.servers.reached)
        environment = environment_of(options.workload, ground.folder, urls, options.term_ms)
        sign = WORKER_READY if role == "worker" else None
        return Slot(name, (*options.process_command, role), environment, ground.folder, sign)

    async with Stoker.opened(settings_of(ground.servers.urls), ground.domain) as stoker:
        users = await workload.users(stoker, _seeded(options.seed + 1))
    workers, webapps = ([slot(role, one) for one in _names(role, options)] for role in ROLES)
    tally = Tally()
    shares = {Act.WRITE: options.writes, Act.INTRUDE: INTRUSIONS, Act.READ: 1 - options.writes - INTRUSIONS}
    driver = Driver(webapps, users, tally, _seeded(options.seed + 2), faulty=True, shares=shares)
    popular = users.read()
    return Scene(
        servers=ground.servers,
        links=ground.links,
        folder=ground.folder,
        domain=ground.domain,
        sql=ground.sql,
        rng=_seeded(options.seed),
        workers=workers,
        webapps=webapps,
        ledger=Ledger(PREFIX, ground.domain.all_lanes),
        tally=tally,
        driver=driver,
        poisoned_scope=(ground.domain.view(popular.view).scope, str(popular.scope_id)),
    )


def _names(role: str, options: ChaosOptions) -> list[str]:
    count = options.workers if role == "worker" else options.webapps
    return [f"{role}-{number}" for number in range(1, count + 1)]


@asynccontextmanager
async def _processes(scene: Scene) -> AsyncIterator[None]:
    """All processes, kept running until the context ends. One of each role is an older release."""
    for slots in (scene.workers, scene.webapps):
        slots[-1].older = len(slots) > 1
    async with started(*scene.slots):
        keeping = [asyncio.create_task(slot.keep_up()) for slot in scene.slots]
        try:
            for slot in scene.slots:
                await slot.ready()
            yield
        finally:
            await _end(keeping)


async def _act(options: ChaosOptions, scene: Scene) -> None:
    """Traffic and faults for the time that was asked for, then the last act."""
    kinds = [
        kind
        for kind in faults.KINDS
        if options.topology in kind.topologies and (options.faults is None or kind.name in options.faults)
    ]
    planned = list(faults.plan(kinds, _seeded(options.seed), options.seconds, options.pace_s))
    terms = f", terms of {options.term_ms} ms" if options.term_ms else ""
    say(f"seed {options.seed}: {len(planned)} faults in {options.seconds:g} s{terms}")
    driver, chosen = scene.driver, mischief.chosen(options.mischief, options.seconds)
    misbehaving = mischief.misbehave_on(driver, _seeded(options.seed + 3), MISCHIEF_PER_S, chosen)
    following = asyncio.create_task(driver.changes.follow_on(scene.sql))
    requesting = requests.request_on(driver, _seeded(options.seed + 4), REQUESTS_PER_S)
    users, jobs, own = map(asyncio.create_task, (driver.run(inf, options.rate), misbehaving, requesting))
    try:
        async with asyncio.TaskGroup() as striking:
            began = time.monotonic()
            for one in planned:
                await asyncio.sleep(max(0.0, began + one.at_s - time.monotonic()))
                _raise_first((users, jobs, own, following))
                striking.create_task(_strike(scene, one, until=began + options.seconds))
            await asyncio.sleep(max(0.0, began + options.seconds - time.monotonic()))
        await _same_release(scene)
        await _recovered(scene)
        await _end([jobs, own])
        driver.stop()
        await users
        await _last_act(scene)
    finally:
        driver.changes.end()
        await _end([users, jobs, own])
        await following


async def _strike(scene: Scene, planned: Planned, *, until: float = inf) -> None:
    """One fault; none if its target is under another fault until the time (monotonic) is over."""
    kind = planned.kind
    slots = {"worker": scene.workers, "webapp": scene.webapps}.get(kind.target)
    slot = slots[planned.pick % len(slots)] if slots else None
    lock = slot.lock if slot else scene.locks[kind.target]
    async with asyncio.TaskGroup() as following, lock:
        if time.monotonic() > until:
            return
        say(f"  {kind.name}" + (f" {slot.name}" if slot else "") + f" for {planned.lasts_s:.1f} s")
        trouble = Trouble(kind.name, slot.name if slot else kind.target, time.time())
        scene.tally.troubles.append(trouble)
        try:
            await kind.strike(scene, slot, planned.lasts_s)
        finally:
            trouble.ended = time.time()
        scene.tally.faults[kind.name] += 1
        scene.tally.recoveries.append(Recovery(kind.name, time.time()))
        if kind.target == "queue":  # the next fault of the queue may come meanwhile
            following.create_task(lanes.follow(scene, kind.name))
        if kind.then is not None:
            await kind.then(scene, planned.lasts_s)


async def _same_release(scene: Scene) -> None:
    """Wait until every process is of the newest release and works."""
    roles = (("deploy", scene.workers), ("deploy_webapp", scene.webapps))
    older = [(name, number) for name, slots in roles for number, slot in enumerate(slots) if slot.older]
    deploys = (Planned(0, _kind(name), 0, number) for name, number in older)
    await asyncio.gather(*(_strike(scene, deploy) for deploy in deploys))
    for slot in scene.slots:
        await slot.ready()


async def _recovered(scene: Scene) -> None:
    """Continue changes until one that was started after the last fault is in effect, or the time is over."""
    give_up = time.monotonic() + RECOVERED_WITHIN_S
    while (  # noqa: ASYNC110 - there is nothing to wait for but the state
        time.monotonic() < give_up and any(one.seconds is None for one in scene.tally.recoveries)
    ):
        await asyncio.sleep(POLL_S)


async def _last_act(scene: Scene) -> None:
    """The last changes are made while the queue is away: no ring, no relay, only the sweeper applies them."""
    say("  the last changes, without a queue")
    trouble = Trouble("last_act", "queue", time.time())
    scene.tally.troubles.append(trouble)
    try:
        async with queue.away(scene):
            await asyncio.gather(*(scene.driver.edit() for _ in range(LAST_CHANGES)))
    finally:
        trouble.ended = time.time()


def _seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - a run can be repeated


def _kind(name: str) -> Kind:
    return next(kind for kind in faults.KINDS if kind.name == name)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
            raise outcome


def _raise_first(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()
