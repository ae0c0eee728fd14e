"""The report of a run under faults: what was injected, what was counted at rest, and what is wrong.

A value that was not measured is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from stoker import Stoker
from stoker.chaos import accounts, answers, entries, keys, lanes, recovery, requests, rescues, rest
from stoker.chaos.environment import settings_of
from stoker.chaos.options import ChaosOptions
from stoker.chaos.program import Facts
from stoker.chaos.scene import Scene
from stoker.chaos.tally import Tally
from stoker.chaos.words import first


def text(facts: Facts) -> str:
    """What a person reads."""
    events, reads, entries = facts["events"], facts["reads"], facts["entries"]
    slowest, rescues, requested = facts["slowest_recovery"], facts["rescues"], facts["requests"]
    lines = {
        "faults": f"{facts['faults_injected']} in {facts['seconds']:g} s, seed {facts['seed']}"
        + (f", terms of {facts['term_ms']} ms: " if facts["term_ms"] else ": ")
        + _listed(facts["faults"]),
        "tasks": _listed(facts["mischief"]),
        "events": f"{events['recorded']} committed, {events['settled']} applied",
        "reads": f"{reads['checked']} checked, {reads['of_changed']} of what had changed, "
        f"{reads['stale']} stale; {reads['left']} left unanswered, {reads['refused']} rightly refused",
        "entries": f"{entries['compared']} of {entries['in_redis']} in Redis and {entries['shown']} "
        f"answers compared with SQL, {len(entries['wrong']) + entries['shown_stale']} wrong",
        "jobs": _listed(facts["jobs"])
        + (f"; {facts['not_replicated']} died with a primary" if facts["not_replicated"] else ""),
        "requests": f"{requested['committed']} committed, {requested['effects']} effects, of which "
        f"{requested['duplicates']} by further runs of jobs that have one each time, "
        f"{len(requested['missing'])} missing",
        "recovery": f"slowest {slowest['seconds']:.1f} s after {slowest['fault']} "
        f"({slowest['all_s']:.1f} s with times in which nothing could recover), "
        f"{rescues['count']} rescues, the slowest after {rescues['slowest_s']:.1f} s, lanes back within "
        f"{facts['lanes_back']['slowest_s']:.1f} s of the queue, at rest after {facts['rest_s']:.1f} s",
        "lost": str(facts["lost"]),
    }
    told = [f"{name:<9} {line}" for name, line in lines.items()]
    told += [f"          {example}" for example in facts["examples"] if facts["failures"]]
    told += [f"FAILED    {failure}" for failure in facts["failures"]] or ["everything held"]
    return "\n".join(told) + "\n"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def ended(facts: Facts, scene: Scene) -> Facts:
    """The report after all processes have been stopped."""
    disorderly = [words for slot in scene.slots for words in slot.disorderly]
    facts["failures"] = list(dict.fromkeys([*facts["failures"], *disorderly]))
    return facts


async def report(options: ChaosOptions, scene: Scene) -> Facts:
    """Wait until everything settles, count, and say what is wrong."""
    rest_s, left = await rest.settle(scene, options.rest_s)
    await scene.driver.changes.follow(scene.sql)
    events = await rest.events(scene)
    found = accounts.places(scene)
    dead, ended_wrong = await accounts.ends(scene)
    requested = await requests.count(scene.sql)
    rescued, unexplained = rescues.rescues(scene, options.room_s)
    returned, late = lanes.judged(scene, options.room_s)
    async with Stoker.opened(settings_of(scene.servers.urls), scene.domain) as stoker:
        compared = await entries.compare(scene, stoker)
    await answers.compare(scene.driver)
    stay = await keys.without_ttl(scene.servers.urls, scene.ledger.prefix, scene.ledger.lanes)
    tally = scene.tally
    failures = [*left, *accounts.accounted(scene, found), *ended_wrong, *unexplained, *late, *stay.wrong]
    failures += [*requested.wrong(), *rest.processes(scene)]
    failures += _wrong_in_sum(scene, events, compared)
    failures += [*recovery.never(scene), *recovery.late(recovery.by_fault(scene), options.room_s)]
    failures += [f"{kind}: {count} times" for kind, count in tally.wrong.items()]
    return {
        "seed": options.seed,
        "seconds": options.seconds,
        "topology": options.topology,
        "workload": options.workload,
        "term_ms": options.term_ms,
        "faults_injected": tally.faults.total(),
        "faults": dict(sorted(tally.faults.items())),
        "mischief": dict(sorted(tally.mischief.items())),
        "changes": {"acknowledged": tally.writes, "followed": tally.writes_waited_for},
        "revocations": tally.revocations,
        "events": {**asdict(events), "lost": events.lost},
        "reads": _reads(tally),
        "entries": {
            **asdict(compared),
            "shown": tally.entries_verified,
            "shown_stale": tally.stale_entries,
        },
        "jobs": found,
        "not_replicated": len(accounts.not_replicated(scene)),
        "dead_letters": dead,
        "requests": asdict(requested),
        "rescues": asdict(rescued),
        "lanes_back": asdict(returned),
        "keys_without_ttl": stay.declared,
        "lost": events.lost + found["lost"],
        "slowest_recovery": recovery.slowest(scene),
        "recovery_s": recovery.by_fault(scene),
        "recovery_limit_s": recovery.limits(options.room_s),
        "processes_started": sum(len(slot.lives) for slot in scene.slots),
        "rest_s": round(rest_s, 2),
        "examples": tally.examples,
        "failures": failures,
        "timeline": _timeline(scene),
    }


def _reads(tally: Tally) -> dict[str, Any]:
    return {
        "by_state": dict(tally.by_state()),
        "checked": tally.reads_checked,
        "of_changed": tally.reads_of_changed,
        "stale": tally.stale_reads,
        "not_modified": tally.not_modified,
        "outages": tally.outages,
        "unanswered": tally.unanswered,
        "left": tally.left,
        "refused": tally.forbidden_reads_attempted - tally.forbidden_reads_served,
        "refusals": dict(tally.refusals),
    }


def _wrong_in_sum(scene: Scene, events: rest.Events, compared: entries.Entries) -> list[str]:
    wrong = []
    if events.missing:
        wrong.append(f"{events.missing} acknowledged events are not in the outbox")
    if compared.unknown:
        wrong.append(f"unknown entries could not be compared: {first(compared.unknown)}")
    if compared.wrong:
        wrong.append(f"{len(compared.wrong)} entries differ from SQL: {first(compared.wrong)}")
    if not scene.tally.reads_of_changed:
        wrong.append("no read was of an entry that had changed: the run proves nothing")
    if not scene.tally.by_state()["hit"] and not scene.tally.entries_verified:
        wrong.append("no read was answered from the cache: the run proves nothing of it")
    return wrong


def _timeline(scene: Scene) -> list[dict[str, Any]]:
    """Every fault, in seconds from the first."""
    troubles = scene.tally.troubles
    began = troubles[0].began if troubles else 0.0
    return [
        {
            "fault": one.kind,
            "target": one.target,
            "from_s": round(one.began - began, 2),
            "to_s": round(one.ended - began, 2),
        }
        for one in troubles
    ]
