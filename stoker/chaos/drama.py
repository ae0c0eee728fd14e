"""One run from start to end: stage, traffic, faults, the last act, rest, checks, report."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from random import Random
from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine

from stoker import Stoker, StokerError
from stoker.chaos import faults, lanes
from stoker.chaos.audit import Ledger
from stoker.chaos.faults import Kind, Planned
from stoker.chaos.options import ChaosOptions
from stoker.chaos.report import Report, report
from stoker.chaos.revocations import Revocations
from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot
from stoker.chaos.stage import PREFIX, Stage, filled, staged
from stoker.chaos.tally import Recovery, Tally, Trouble
from stoker.chaos.traffic import KILLER, MISCHIEF, Traffic
from stoker.chaos.workload import ChaosWorkload, Probe, load_workload

GOOD, BAD, INTERRUPTED = 0, 1, 130
MISCHIEF_PER_S = 2.0
REVOCATIONS_PER_S = 1.0
RECOVERED_WITHIN_S = 20.0
LOOK_S = 0.05
LONG_RUN_S = 60
LAST_CHANGES = 6
"""Changes of the last act, made while the queue is away: nobody rings for them ever."""


def perform(options: ChaosOptions) -> int:
    """See `stoker.chaos.run`."""
    try:
        workload = load_workload(options.workload)
        with staged(options, workload) as stage:
            found = asyncio.run(_interruptible(options, workload, stage))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted: everything is stopped")
        return INTERRUPTED
    except StokerError as error:
        say(f"chaos could not run: {error}")
        return BAD
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found.facts, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(found.text())
    return BAD if found.failures else GOOD


def say(message: str) -> None:
    """Tell what happens, beside the report."""
    sys.stderr.write(f"{message}\n")


async def _interruptible(options: ChaosOptions, workload: ChaosWorkload, stage: Stage) -> Report:
    me = asyncio.current_task()
    assert me is not None  # noqa: S101 - inside asyncio.run
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    await filled(stage, workload, options.seed)
    # The driver is no web app: it must see a restart of Postgres as an error, at once.
    sql = create_async_engine(
        stage.servers.urls.database, pool_pre_ping=True, connect_args={"timeout": 2, "command_timeout": 5}
    )
    try:
        async with Stoker.opened(stage.settings, stage.domain) as stoker:
            probes = await workload.probes(stoker)
        scene = _scene(options, workload, stage, probes, sql)
        async with _processes(scene):
            await _act(options, scene)
            facts = await _rest(options, scene)
        return facts.after(scene)
    finally:
        await sql.dispose()


def _scene(
    options: ChaosOptions,
    workload: ChaosWorkload,
    stage: Stage,
    probes: Sequence[Probe],
    sql: Any,  # noqa: ANN401
) -> Scene:
    rng, tally = Random(options.seed), Tally()  # noqa: S311 - seeded on purpose

    def slots(role: str, count: int) -> list[Slot]:
        names = [f"{role}-{number}" for number in range(1, count + 1)]
        return [Slot(name, role, options.process_command, stage.environment, stage.folder) for name in names]

    workers, webapps = slots("worker", options.workers), slots("webapp", options.webapps)
    traffic = Traffic(workload, probes, webapps, sql, tally, rng=Random(options.seed + 1))  # noqa: S311 - the same
    kind = stage.domain.view(probes[0].view).scope
    return Scene(
        stage=stage,
        sql=sql,
        rng=rng,
        workers=workers,
        webapps=webapps,
        ledger=Ledger(PREFIX),
        tally=tally,
        traffic=traffic,
        revocations=Revocations(webapps, traffic.events, tally, Random(options.seed + 2)),  # noqa: S311 - the same
        poisoned_scope=f"{kind}:{probes[0].scope_id}",
    )


@asynccontextmanager
async def _processes(scene: Scene) -> AsyncIterator[None]:
    """All processes, kept up, for as long as this lasts; the last of each role is of the older release."""
    for slots in (scene.workers, scene.webapps):
        slots[-1].older = len(slots) > 1
    keeping = [asyncio.create_task(slot.keep_up()) for slot in scene.slots]
    try:
        for slot in scene.slots:
            slot.start()
        for slot in scene.slots:
            await slot.ready()
        yield
    finally:
        for task in keeping:
            task.cancel()
        await asyncio.gather(*(slot.stop() for slot in scene.slots))
        for slot in scene.slots:
            slot.link.close()


async def _act(options: ChaosOptions, scene: Scene) -> None:
    """Traffic and faults for the time that was asked for, then the last act."""
    kinds = [kind for kind in faults.KINDS if options.faults is None or kind.name in options.faults]
    chosen = _mischief(options)
    planned = list(faults.plan(kinds, Random(options.seed), options.seconds, options.pace_s))  # noqa: S311
    say(f"seed {options.seed}: {len(planned)} faults in {options.seconds:g} s")
    traffic = scene.traffic
    following = asyncio.create_task(traffic.follow_on())
    busy = [
        *(asyncio.create_task(traffic.read_on()) for _ in range(options.readers)),
        asyncio.create_task(traffic.write_on(options.changes_per_s)),
        asyncio.create_task(scene.revocations.revoke_on(REVOCATIONS_PER_S)),
        asyncio.create_task(scene.revocations.try_on()),
        asyncio.create_task(traffic.misbehave_on(MISCHIEF_PER_S, chosen)),
    ]
    try:
        async with asyncio.TaskGroup() as striking:
            began = time.monotonic()
            for one in planned:
                await asyncio.sleep(max(0.0, began + one.at_s - time.monotonic()))
                _raise_first(busy)
                striking.create_task(_strike(scene, one, until=began + options.seconds))
            await asyncio.sleep(max(0.0, began + options.seconds - time.monotonic()))
        await _same_release(scene)
        await _recovered(scene)
        await _end(busy[options.readers :])
        await _last_act(scene)
    finally:
        await _end([*busy, following])


async def _strike(scene: Scene, planned: Planned, *, until: float = inf) -> None:
    """One fault; none if what it strikes is under another one until the time (monotonic) is over."""
    kind = planned.kind
    slots = {"worker": scene.workers, "webapp": scene.webapps}.get(kind.target)
    slot = slots[planned.pick % len(slots)] if slots else None
    async with slot.lock if slot else scene.locks[kind.target]:
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
    if kind.target == "queue":
        # Outside its lock: the next fault of the queue may come meanwhile.
        await lanes.follow(scene, kind.name)


async def _same_release(scene: Scene) -> None:
    """From here on every process is of the newest release, and works."""
    roles = (("deploy", scene.workers), ("deploy_webapp", scene.webapps))
    older = [(name, number) for name, slots in roles for number, slot in enumerate(slots) if slot.older]
    deploys = (Planned(0, _kind(name), 0, number) for name, number in older)
    await asyncio.gather(*(_strike(scene, deploy) for deploy in deploys))
    for slot in scene.slots:
        await slot.ready()


async def _recovered(scene: Scene) -> None:
    """Changes go on until one that was begun after the last fault is in effect, or it takes too long."""
    give_up = time.monotonic() + RECOVERED_WITHIN_S
    while (  # noqa: ASYNC110 - looking is what tells
        time.monotonic() < give_up and any(one.seconds is None for one in scene.tally.recoveries)
    ):
        await asyncio.sleep(LOOK_S)


async def _last_act(scene: Scene) -> None:
    """The last changes are made while the queue is away: no ring, no relay, only the sweeper applies them."""
    await scene.traffic.finish()
    say("  the last changes, without a queue")
    queue = scene.stage.servers.queue
    trouble = Trouble("last_act", "queue", time.time())
    scene.tally.troubles.append(trouble)
    await asyncio.to_thread(queue.kill)
    try:
        webapps = [scene.webapps[number % len(scene.webapps)] for number in range(LAST_CHANGES)]
        await asyncio.gather(*(scene.traffic.change(webapp) for webapp in webapps))
    finally:
        await asyncio.to_thread(queue.start)
        trouble.ended = time.time()


async def _rest(options: ChaosOptions, scene: Scene) -> Report:
    say("at rest: everything settles, then it is counted")
    return await report(options, scene)


def _mischief(options: ChaosOptions) -> list[str]:
    if options.mischief is not None:
        return [name for name in MISCHIEF if name in options.mischief]
    # A job that kills its worker takes half a minute to be put in quarantine.
    return [name for name in MISCHIEF if name != KILLER or options.seconds >= LONG_RUN_S]


def _kind(name: str) -> Kind:
    return next(kind for kind in faults.KINDS if kind.name == name)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
            raise ended


def _raise_first(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()
