"""The WorkerSettings of an arq application, read and checked once, when the domain is made.

Its queue becomes a lane, its functions become jobs, its cron jobs entries of the schedule. What arq's Worker
takes and Stoker has no use for is ignored (docs/arq.md).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from types import new_class
from typing import Any

from arq.constants import default_queue_name, health_check_key_suffix
from arq.cron import CronJob
from arq.jobs import DeserializationError, deserialize_job_raw
from arq.utils import to_seconds
from arq.worker import Function, Worker, func, get_kwargs

from stoker.arq.cron import ArqCron, task_names
from stoker.arq.serializers import from_json, to_json
from stoker.errors import DeclarationError, InvalidJob
from stoker.jobs import KIND, Lane
from stoker.jobs.arq_call import ArqCall
from stoker.numbers import LATEST_S

MOST_TRIES = 1000
"""The highest number of a first run that a client may ask for."""
PICKLE = b"\x80"
"""Begins what pickle writes."""
PICKLED = ": it is a pickle, and WorkerSettings do not name pickle as `job_deserializer`"
FOR_EVER = timedelta(days=3650)
"""The timeout of a function that has none."""
HOOKS = ("on_startup", "on_shutdown", "on_job_start", "on_job_end", "after_job_end")
DEFAULTS = {name: one.default for name, one in inspect.signature(Worker).parameters.items()}


@dataclass(frozen=True)
class ArqApplication:
    """An arq application. `options` has every option of arq's Worker, with arq's defaults."""

    options: Mapping[str, Any]
    functions: Mapping[str, Function | CronJob]
    crons: Sequence[CronJob]
    lane: Lane
    calls: Mapping[str, type[ArqCall]]
    """By the function's name."""
    schedule: Sequence[ArqCron]

    @classmethod
    def of(cls, worker_settings: Any) -> ArqApplication:  # noqa: ANN401 - a class or a dict, as arq takes it
        """Read WorkerSettings; raises DeclarationError for what no worker could run."""
        if not isinstance(worker_settings, type | dict):
            raise DeclarationError(f"arq must be a WorkerSettings class, not {worker_settings!r:.60}")
        options = {**DEFAULTS, **get_kwargs(worker_settings)}
        _check(options)
        crons = list(options["cron_jobs"] or ())
        functions: dict[str, Function | CronJob] = {}
        try:
            functions |= {one.name: one for one in map(func, options["functions"])}
        except (RuntimeError, TypeError, ImportError, AttributeError) as error:
            raise DeclarationError(f"arq: functions: {error}") from None
        functions |= {one.name: one for one in crons}
        if not functions:
            raise DeclarationError("arq: WorkerSettings has neither functions nor cron_jobs")
        lane = Lane.of_queue(options["queue_name"] or default_queue_name, options["max_jobs"])
        serialize = options["job_serializer"] or to_json
        calls = {
            name: _call(name, lane, serialize, _timeout(one, options)) for name, one in functions.items()
        }
        zone = options["timezone"] or datetime.now(UTC).astimezone().tzinfo or UTC
        schedule = [
            ArqCron(task, calls[one.name](), one, zone)
            for task, one in zip(task_names(crons), crons, strict=True)
        ]
        return cls(options, functions, crons, lane, calls, schedule)

    @property
    def queue_name(self) -> str:
        """Arq's name of the queue."""
        return self.lane.removeprefix(":")

    @property
    def health_check_key(self) -> str:
        """The key that arq's health check reads."""
        return self.options["health_check_key"] or self.queue_name + health_check_key_suffix

    @property
    def serialize(self) -> Callable[[dict[str, Any]], bytes]:
        """How results are written: JSON, unless WorkerSettings say otherwise."""
        return self.options["job_serializer"] or to_json

    @property
    def deserialize(self) -> Callable[[bytes], dict[str, Any]]:
        """How jobs are read: JSON, unless WorkerSettings say otherwise."""
        return self.options["job_deserializer"] or from_json

    def read(self, payload: bytes) -> tuple[str, list[Any], dict[str, Any], int, int]:
        """Name, arguments, named ones, number of the first run and time (ms) of a job; raises InvalidJob."""
        try:
            name, args, kwargs, first_try, enqueued_ms = deserialize_job_raw(
                payload, deserializer=self.deserialize
            )
        except DeserializationError as error:
            pickled = payload.startswith(PICKLE) and self.options["job_deserializer"] is None
            raise InvalidJob(f"{error}{PICKLED if pickled else ''}") from error
        first = 1 if first_try is None else first_try
        kinds = (name, str), (args, list | tuple), (kwargs, dict), (first, int), (enqueued_ms, int)
        if not all(isinstance(value, kind) for value, kind in kinds):
            raise InvalidJob("not arq's job: one of f, a, k, t and et is of another type")
        if not 0 <= first <= MOST_TRIES or not 0 <= enqueued_ms < LATEST_S * 1000:
            raise InvalidJob("not arq's job: t is no number of a run, or et no time")
        return name, list(args), kwargs, max(first, 1), enqueued_ms

    @staticmethod
    def shown(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call as JSON, for people: what is no JSON is shown as Python shows it."""
        try:
            said = json.dumps({"args": args, "kwargs": kwargs}, default=repr, skipkeys=True, allow_nan=False)
        except Exception as error:  # noqa: BLE001 - also of the __repr__ of an argument
            return {"args": [f"<no JSON: {type(error).__name__}>"], "kwargs": {}}
        found: dict[str, Any] = json.loads(said)
        return found

    def timeout_s(self, function: Function | CronJob) -> float:
        """Seconds that a run may take."""
        return _timeout(function, self.options).total_seconds()

    def max_tries(self, function: Function | CronJob) -> int:
        """Runs of one job."""
        return self.options["max_tries"] if function.max_tries is None else function.max_tries

    def kept_s(self, function: Function | CronJob | None) -> float | None:
        """Seconds that a result is kept; None: for ever, 0: not at all."""
        own = function or _NOTHING
        for_ever = own.keep_result_forever
        if self.options["keep_result_forever"] if for_ever is None else for_ever:
            return None
        kept = own.keep_result_s
        return to_seconds(self.options["keep_result"]) if kept is None else kept


_NOTHING = Function(**dict.fromkeys((one.name for one in fields(Function)), None))  # type: ignore[arg-type]


def _check(options: Mapping[str, Any]) -> None:
    if options["redis_pool"] is not None:
        raise DeclarationError("arq: leave out `redis_pool`: Stoker connects to REDIS_URL")
    crons = options["cron_jobs"] or ()
    if not all(isinstance(one, CronJob) for one in crons):
        raise DeclarationError("arq: cron_jobs must be made with arq.cron")
    for name in HOOKS:
        hook = options[name]
        if hook is not None and not inspect.iscoroutinefunction(hook):
            raise DeclarationError(f"arq: {name} must be an async function, not {hook!r:.60}")
    if not isinstance(options["max_jobs"], int) or options["max_jobs"] < 1:
        raise DeclarationError(f"arq: max_jobs must be 1 or more, not {options['max_jobs']!r:.60}")


def _timeout(function: Function | CronJob, options: Mapping[str, Any]) -> timedelta:
    seconds = to_seconds(options["job_timeout"]) if function.timeout_s is None else function.timeout_s
    return FOR_EVER if seconds is None else timedelta(seconds=seconds)


def _call(name: str, lane: Lane, serialize: Callable[..., bytes], timeout: timedelta) -> type[ArqCall]:
    if KIND.fullmatch(name) is None:
        raise DeclarationError(
            f"arq: function {name!r:.80}: give it a name of 1 to 64 visible ASCII characters: "
            'func(function, name="...") or cron(function, name="...")'
        )
    said = {"kind": name, "lane": lane, "timeout": timeout, "serialize": staticmethod(serialize)}
    made: Any = new_class("ArqCall", (ArqCall,), exec_body=lambda body: body.update(said))
    return made  # type: ignore[no-any-return]
