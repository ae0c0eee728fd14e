"""What the console can, the command line can: jobs, dead letters, schedule, lanes, cache, tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import typer
from typer.main import get_command

from stoker.cli.app import app
from stoker.jobs import Lane, Refresh, Relay, Warm
from stoker.queue.enqueue import Queue
from stoker.queue.progress import Progress
from stoker.settings import QueueSettings, load_settings
from stoker.stoker import Stoker
from stoker.tables import audit_log
from stoker.worker.engine.dead_letters import DeadLetters
from stoker.worker.engine.letter import Letter
from tests.integration.cli import Done, call
from tests.support.place import Place

T = TypeVar("T")
KIND = "project"


class Run(Protocol):
    """Runs a command on the test's servers."""

    def __call__(self, *arguments: str) -> Done: ...


@pytest.fixture
def environment(place: Place) -> dict[str, str]:
    return place.environment()


@pytest.fixture
def stoker(environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *arguments: call(tmp_path, environment, *arguments, capture=capsys)


def shown(done: Done) -> Any:  # noqa: ANN401 - JSON
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def on_queue(environment: dict[str, str], work: Callable[[Queue], Awaitable[T]]) -> T:
    async def run() -> T:
        settings = QueueSettings(prefix=environment["STOKER__QUEUE__PREFIX"])
        queue = Queue.from_url(environment["REDIS_URL"], settings)
        try:
            return await work(queue)
        finally:
            await queue.close()

    return asyncio.run(run())


def on_stoker(environment: dict[str, str], work: Callable[[Stoker], Awaitable[T]]) -> T:
    async def run() -> T:
        settings = load_settings(
            database_url=environment["DATABASE_URL"],
            redis_url=environment["REDIS_URL"],
            cache_redis_url=environment["CACHE_REDIS_URL"],
            queue={"prefix": environment["STOKER__QUEUE__PREFIX"]},
        )
        async with Stoker.opened(settings) as opened:
            return await work(opened)

    return asyncio.run(run())


def bury(environment: dict[str, str], count: int) -> None:
    async def work(stoker: Stoker) -> None:
        letters = DeadLetters(stoker.engine)
        for number in range(count):
            await letters.bury(
                Letter(
                    job_id=f"job{number}",
                    lane=Lane.REFRESH,
                    reason="exhausted",
                    attempts=5,
                    error="ValueError: no",
                    fingerprint="f" * 32,
                    kind=Refresh.kind,
                    payload={"view": "detail", "scope_id": str(number + 1), "params": ""},
                    traceback="Traceback: here",
                )
            )

    on_stoker(environment, work)


def audited(environment: dict[str, str]) -> list[str]:
    async def work(stoker: Stoker) -> list[str]:
        async with stoker.engine.connect() as connection:
            query = audit_log.select().order_by(audit_log.c.id)
            return [row.action for row in await connection.execute(query)]

    return on_stoker(environment, work)


def test_an_operator_enqueues_a_job_of_the_application(stoker: Run, environment: dict[str, str]) -> None:
    asked = shown(stoker("jobs", "enqueue", "digest.write.v1", '{"user_id": 7}', "--json"))
    assert (asked["lane"], asked["answer"]) == ("files", "enqueued")
    assert shown(stoker("jobs", "show", asked["job_id"], "--json"))["arguments"] == {"user_id": 7}
    (entry,) = shown(stoker("audit", "--action", "job", "--json"))["entries"]
    assert entry["arguments"] == {"kind": "digest.write.v1", "job_id": asked["job_id"]}
    joined = stoker("jobs", "enqueue", "digest.write.v1", '{"user_id": 7}').stdout
    assert joined == f"{asked['job_id']}: coalesced in files\n"
    newest = shown(stoker("audit", "--json"))["entries"][0]["arguments"]
    assert newest == {"kind": "digest.write.v1", "job_id": asked["job_id"], "answer": "coalesced"}
    assert f'"job_id": "{asked["job_id"]}"' in stoker("audit").stdout
    later = shown(stoker("jobs", "enqueue", "prune.v1", "--delay", "60", "--json"))
    (waits,) = shown(stoker("jobs", "list", "--state", "deferred", "--json"))["live"]
    assert waits["job_id"] == later["job_id"]
    assert audited(environment).count("job.enqueue") == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("digest.wriet.v1",), "no job 'digest.wriet.v1'; there are: digest.write.v1"),
        (("digest.write.v1",), "user_id: Field required"),
        (("digest.write.v1", '{"user_id": "seven"}'), "user_id: Input should be a valid integer"),
        (("digest.write.v1", '{"user_id": 7, "colour": 1}'), "colour: Extra inputs"),
        (("digest.write.v1", "[7]"), "payload: Input should be"),
        (("digest.write.v1", "{user_id: 7}"), "no JSON"),
        (("refresh.v1", '{"view": "dashbord", "scope_id": "7"}'), "dashbord"),
        (("prune.v1", "--delay", "-1"), "--delay"),
    ],
)
def test_a_job_that_no_handler_takes_is_a_usage_error(
    stoker: Run, environment: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    done = stoker("jobs", "enqueue", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert audited(environment) == []


def test_a_waiting_job_is_listed_shown_and_cancelled(stoker: Run, environment: dict[str, str]) -> None:
    asked = on_queue(environment, lambda queue: queue.enqueue(Warm(target=KIND, scope_id="7")))
    (listed,) = shown(stoker("jobs", "list", "--state", "ready", "--json"))["live"]
    assert (listed["job_id"], listed["scope"]) == (asked.job_id, f"{KIND}:7")
    assert asked.job_id in stoker("jobs", "list", "--state", "ready").stdout
    assert shown(stoker("jobs", "show", asked.job_id, "--json"))["arguments"]["scope_id"] == "7"
    assert "warm.v1" in stoker("jobs", "show", asked.job_id).stdout
    on_queue(environment, lambda queue: Progress(queue.redis, queue.settings).report(asked.job_id, 3, 10))
    assert "# progress\ndone\ttotal\tupdated_at\n3\t10\t" in stoker("jobs", "show", asked.job_id).stdout
    assert stoker("jobs", "cancel", asked.job_id).stdout == f"{asked.job_id}: cancelled\n"
    again = stoker("jobs", "cancel", asked.job_id)
    assert (again.returncode, "neither waits nor runs" in again.stderr) == (1, True)
    gone = stoker("jobs", "show", asked.job_id)
    assert (gone.returncode, "was cancelled; nothing" in gone.stderr) == (1, True)
    assert "job.cancel" in audited(environment)


def test_dead_letters_are_listed_retried_and_discarded(stoker: Run, environment: dict[str, str]) -> None:
    bury(environment, 5)
    letters = shown(stoker("dead", "list", "--json"))["dead"]
    assert [letter["job_id"] for letter in letters] == ["job4", "job3", "job2", "job1", "job0"]
    (cause,) = shown(stoker("dead", "list", "--causes", "--json"))["groups"]
    assert cause["letters"] == 5
    one = str(letters[0]["id"])
    assert "Traceback: here" in stoker("dead", "show", one).stdout
    assert shown(stoker("dead", "show", one, "--json"))["arguments"]["scope_id"] == "5"
    assert stoker("dead", "retry", one).stdout == "retried 1 of 1; 4 dead letters are left\n"
    unsure = stoker("dead", "discard", "--all")
    assert (unsure.returncode, "discard 4 of 4 dead letters?" in unsure.stderr) == (1, True)
    assert shown(stoker("dead", "retry", "--fingerprint", "f" * 32, "--yes", "--json"))["retried"] == 4
    assert shown(stoker("dead", "discard", "--all", "--yes", "--json"))["discarded"] == 0
    nothing = stoker("dead", "discard")
    assert (nothing.returncode, "--all" in nothing.stderr) == (2, True)
    assert stoker("dead", "show", one).returncode == 1


def test_lanes_are_paused_resumed_and_given_slots(stoker: Run) -> None:
    assert stoker("lanes", "pause", "warm").stdout == "warm is paused\n"
    assert shown(stoker("lanes", "list", "--json"))["lanes"]["warm"]["paused"] is True
    assert stoker("lanes", "resume", "warm").stdout == "warm is resumed\n"
    assert stoker("lanes", "set", "refresh", "12").stdout == "refresh: 12 slots in each worker\n"
    lanes = shown(stoker("lanes", "list", "--json"))["lanes"]
    assert (lanes["warm"]["paused"], lanes["refresh"]["slots"]) == (False, 12)
    assert shown(stoker("lanes", "set", "refresh", "0", "--json")) == {"lane": "refresh", "slots": None}
    assert shown(stoker("lanes", "list", "--json"))["lanes"]["refresh"]["slots"] is None
    assert stoker("lanes", "pause", "nothing").returncode == 2


def test_tasks_are_listed_run_paused_and_resumed(stoker: Run, environment: dict[str, str]) -> None:
    listed = stoker("schedule", "list").stdout
    assert "verify" in listed
    assert "3 * * * * UTC" in listed
    assert stoker("schedule", "pause", "verify").stdout == "verify is paused\n"
    tasks = {task["name"]: task for task in shown(stoker("schedule", "list", "--json"))["tasks"]}
    assert tasks["verify"]["paused_by"].startswith("cli")
    assert (tasks["verify"]["when"], tasks["prune"]["when"]) == ("every 60 s", "3 * * * * UTC")
    assert stoker("schedule", "resume", "verify").returncode == 0
    job_id = shown(stoker("schedule", "run", "prune", "--json"))["job_id"]
    assert shown(stoker("jobs", "show", job_id, "--json"))["kind"] == "prune.v1"
    unknown = stoker("schedule", "run", "nothing")
    assert (unknown.returncode, "no task 'nothing'" in unknown.stderr) == (1, True)
    assert audited(environment) == ["schedule.pause", "schedule.resume", "schedule.run"]


def test_a_scope_is_looked_up(stoker: Run) -> None:
    found = shown(stoker("cache", "show", KIND, "1", "--json"))
    assert found["scope"] == f"{KIND}:1"
    assert {entry["state"] for entry in found["entries"]} == {"absent"}
    assert "stamps" in stoker("cache", "show", KIND, "1").stdout
    wrong = stoker("cache", "show", "planet", "1")
    assert (wrong.returncode, "planet" in wrong.stderr) == (2, True)
    recorded = shown(stoker("cache", "invalidate", KIND, "1", "--wait", "0", "--json"))
    assert (recorded["scope"], recorded["applied"]) == (f"{KIND}:1", False)
    assert shown(stoker("cache", "warm", "--timeout", "0", "--json"))["done"] is None
    assert shown(stoker("cache", "verify", "--json"))["stale"] == {}


def test_tokens_are_added_listed_and_revoked(stoker: Run, environment: dict[str, str]) -> None:
    given = shown(stoker("tokens", "add", "grafana", "--role", "viewer", "--json"))["token"]
    assert len(given) >= 40
    taken = stoker("tokens", "add", "grafana")
    assert (taken.returncode, "is in use" in taken.stderr) == (2, True)
    listed = stoker("tokens", "list", "--json")
    assert given not in listed.stdout
    assert [(one["name"], one["revoked_at"]) for one in shown(listed)] == [("grafana", None)]
    assert stoker("tokens", "revoke", "grafana").returncode == 0
    assert stoker("tokens", "revoke", "grafana").returncode == 1
    renewed = stoker("tokens", "add", "grafana", "--role", "operator")
    assert renewed.returncode == 0
    assert renewed.stdout.strip() not in (given, "")
    assert stoker("tokens", "add", "two words").returncode == 2
    actions = audited(environment)
    assert [action for action in actions if action.startswith("token")] == [
        "token.add",
        "token.revoke",
        "token.add",
    ]


def test_what_was_done_is_listed_by_whom_and_what(stoker: Run) -> None:
    asked = shown(stoker("cache", "refresh", KIND, "1", "--view", "detail", "--json"))["job_ids"]
    assert shown(stoker("jobs", "show", asked[0], "--json"))["kind"] == Refresh.kind
    stoker("lanes", "pause", "warm")
    (refreshed,) = shown(stoker("audit", "--action", "cache", "--json"))["entries"]
    assert refreshed["arguments"] == {"scope": f"{KIND}:1", "views": ["detail"]}
    paused, *_ = shown(stoker("audit", "--json"))["entries"]
    assert (paused["action"], paused["actor"][:3]) == ("lane.pause", "cli")
    assert shown(stoker("audit", "--actor", "nobody", "--json"))["entries"] == []


def test_what_strangers_named_is_shown_as_text(stoker: Run) -> None:
    done = stoker("jobs", "cancel", "\x1b[2J[bold]x[/]")
    said = "\\x1b[2J[bold]x[/] neither waits nor runs: there is nothing to cancel"
    assert (done.returncode, done.stderr) == (1, f"error: {said}\n")
    assert done.stdout == "\\x1b[2J[bold]x[/]: not_found\n"


def test_a_choice_that_cannot_be_is_wrong_usage(stoker: Run) -> None:
    cut = stoker("dead", "retry", "--fingerprint", "0123456789\u2026", "--yes")
    assert (cut.returncode, "a fingerprint is 32 hex digits" in cut.stderr) == (2, True)
    assert stoker("dead", "list", "--fingerprint", "0123456789\u2026").returncode == 2
    long = stoker("jobs", "list", "--kind", "x" * 65)
    assert (long.returncode, "Invalid value for kind" in long.stderr) == (2, True)
    no_letter = stoker("dead", "retry", "7")
    assert (no_letter.returncode, "there is no dead letter 7" in no_letter.stderr) == (1, True)
    no_text = stoker("jobs", "show", "\udcff")
    assert (no_text.returncode, no_text.stderr) == (2, "error: the argument '\\udcff' is not UTF-8\n")


def test_the_api_faces_the_network_only_with_a_token(stoker: Run) -> None:
    done = stoker("api", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - that it is refused
    assert (done.returncode, "stoker tokens add" in done.stderr) == (2, True)


def test_status_is_watched_until_it_is_stopped(
    stoker: Run, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def twice(seconds: float) -> None:
        pauses.append(seconds)
        if len([one for one in pauses if one == 0.125]) == 2:
            raise KeyboardInterrupt

    on_queue(environment, lambda queue: queue.enqueue(Relay()))
    monkeypatch.setattr("stoker.cli.status.pause_between_updates", twice)
    done = stoker("status", "--watch", "--every", "0.125", "--json")
    pictures = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(pictures)) == (130, 2)
    assert pictures[0]["lanes"]["changes"]["ready"] == 1


def every_command() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []

    def walk(command: Any, path: tuple[str, ...]) -> None:  # noqa: ANN401 - click's or typer's own
        children = getattr(command, "commands", None)
        if not children:
            found.append(path)
            return
        for name, child in children.items():
            walk(child, (*path, name))

    walk(get_command(app), ())
    return sorted(found)


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
def test_every_command_says_what_it_does(path: tuple[str, ...], stoker: Run) -> None:
    helped = stoker(*path, "--help")
    assert helped.returncode == 0
    assert helped.stdout.strip()


STAY = {("up",), ("run",), ("arq",), ("api",), ("demo",), ("chaos",), ("mcp",)}
"""Commands that run until they are stopped, write a report of their own, or speak a protocol."""


@pytest.mark.parametrize("path", [path for path in every_command() if path not in STAY], ids=" ".join)
def test_every_command_answers_programs_too(path: tuple[str, ...]) -> None:
    command: Any = get_command(app)
    for name in path:
        command = command.commands[name]
    options = {option for param in command.params for option in param.opts}
    assert "--json" in options


def test_shells_can_complete() -> None:
    assert isinstance(app, typer.Typer)
    options = {option for param in get_command(app).params for option in param.opts}
    assert {"--install-completion", "--show-completion"} <= options
