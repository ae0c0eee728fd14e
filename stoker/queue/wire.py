"""arq's wire format with JSON: names of keys, and the dict that a stock arq client writes and reads.

Owns the format of `arq:job:<id>`; never talks to Redis. A payload comes from anybody who can write to the
queue: it is read as JSON, never unpickled.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import quote, unquote

from pydantic import ValidationError

from stoker.errors import BadRequest, InvalidJob
from stoker.jobs import JOBS, KIND, Job
from stoker.jobs.arq_call import ArqCall
from stoker.numbers import LATEST_S, whole
from stoker.settings import QueueSettings

ABORTS = "arq:abort"
"""The zset in which arq's clients write down which jobs are to be aborted; one for all queues of a server."""
FLAG = re.compile(r"[0-9a-f]{1,64}")
"""The form of a digest of a coalesce key."""
MOST_TRIES = 1000
"""The highest number of a first run that a client may ask for."""
LONGEST_TRACE = 512
LATEST_MS = int(LATEST_S) * 1000
LARGEST = 1_000_000
"""Bytes of one job."""
OURS = frozenset(JOBS.values())
LONGEST_FAIR_KEY = 100
"""Characters of a fair key."""
FAIR = re.compile(r"[ !#-\[\]-~]{1,1200}")
"""The form of a fair key in a payload: quoted as in a URL, so that no quotation mark ends it."""
_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
"""Made once, as _READER: json.dumps and json.loads make one for each call."""
UNQUOTED = " !#$&'()*+,/:;<=>?@[]^`{|}~"
DEEPEST = 100
"""Levels of arguments within arguments: more than any job has, fewer than a recursion survives."""


@dataclass(frozen=True)
class Stored:
    """The contents of a payload, before its kind is looked up."""

    kind: str
    payload: Any
    first_try: int
    enqueued_ms: int
    flag: str
    """Digest of its coalesce key; empty: it never coalesces."""
    fair: str = ""
    """Its fair key, quoted; empty: it has none."""
    trace: str | None = None
    """Traceparent of the caller that enqueued it."""


def queue_name(settings: QueueSettings, lane: str) -> str:
    """The name of a lane's zset: what arq calls `queue_name`. A lane with a colon is another's queue."""
    return lane.removeprefix(":") if ":" in lane else f"{settings.prefix}:{lane}"


def queue_names(settings: QueueSettings, lanes: Iterable[str]) -> list[str]:
    """The same of several lanes."""
    return [queue_name(settings, lane) for lane in lanes]


def concurrency_name(settings: QueueSettings) -> str:
    """The hash zset -> slots that operators set over the settings of every worker."""
    return f"{settings.prefix}:concurrency"


def serialize(job: dict[str, Any]) -> bytes:
    """The `job_serializer` for an arq client that enqueues for Stoker; raises ValueError or TypeError."""
    return _JSON.encode(job).encode()


def deserialize(raw: bytes) -> dict[str, Any]:
    """The `job_deserializer` for an arq client; raises ValueError or TypeError on anything but a JSON object.

    Numbers that JSON cannot express (NaN, Infinity, 1e400) are refused: no dead letter could hold them.
    """
    found = _READER.decode(raw.decode(json.detect_encoding(raw), "surrogatepass"))
    if not isinstance(found, dict):
        raise TypeError("not a JSON object")
    _check_depth(raw, found)
    return found


def digest(job: Job) -> str:
    """The part of a waiting flag's name that stands for the coalesce key; empty: never coalesces.

    Jobs of two kinds never coalesce, whatever their keys say. Raises BadRequest for a key that is no text.
    """
    return _digest_of_ours(job) if type(job) in OURS else _digest(job, f"{job.kind}\n")


@lru_cache(maxsize=16)
def _digest_of_ours(job: Job) -> str:
    return _digest(job, "")  # their keys begin with their kinds


def _digest(job: Job, before: str) -> str:
    key = job.coalesce_key()
    if key is None:
        return ""
    if not isinstance(key, str):
        raise BadRequest(f"{job.kind}: coalesce_key() must give a text or None, not {key!r:.60}", field="job")
    return blake2b(f"{before}{key}".encode(errors="surrogatepass"), digest_size=16).hexdigest()


def fair_mark(job: Job) -> str:
    """The fair key of a job as its payload has it; empty: none. Raises BadRequest for one that cannot be."""
    if job.rate_per_s:
        return rate_mark(type(job))
    key = job.fair_key()
    if key is None:
        return ""
    try:
        if isinstance(key, str) and 1 <= len(key) <= LONGEST_FAIR_KEY:
            return quote(key, safe=UNQUOTED)
    except UnicodeEncodeError:
        pass
    raise BadRequest(
        f"{job.kind}: fair_key() must give a text of 1 to {LONGEST_FAIR_KEY} characters or None, "
        f"not {key!r:.60}",
        field="job",
    )


def rate_mark(job: type[Job]) -> str:
    """What stands in place of a fair key for a kind with a rate: its jobs wait in a line of their own.

    No fair key is quoted so: a percent sign comes before two hexadecimal digits.
    """
    return f"%rate:{quote(job.kind, safe=UNQUOTED)}"


def fair_key_of(mark: str) -> str | None:
    """The fair key that a payload's mark stands for."""
    return None if mark.startswith("%rate:") else unquote(mark) or None


def arguments_of(job: Job) -> dict[str, Any]:
    """The fields of a job as JSON; raises BadRequest where a worker could not make the same job of them."""
    try:
        found = job.model_dump(mode="json")
        type(job).model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "arguments"
        raise BadRequest(
            f"{job.kind}: a worker could not read it: {where}: {first['msg']}", field="job"
        ) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRequest(f"{job.kind}: its fields are no JSON: {error!s:.200}", field="job") from None
    return found


def encode(job: Job, now_ms: int, trace: str | None = None) -> bytes:
    """A job as arq's dict.

    `flag`, `alone` and `fair` come first: the scripts read them with an anchored pattern, so that nothing
    which a caller put into the arguments can pass for them. arq ignores them.
    """
    if isinstance(job, ArqCall):
        return job.payload(now_ms)
    return finished(_ours(job) if type(job) in OURS else _lasting(job), now_ms, trace)


@lru_cache(maxsize=16)  # a ring is the same each time, and every request that writes sends one
def _ours(job: Job) -> bytes:
    # Only for Stoker's own jobs: others may have fields that cannot be hashed, or that are equal but differ
    # in JSON.
    return _lasting(job)


def _lasting(job: Job) -> bytes:
    """The part of a payload that does not depend on the time, without the closing brace."""
    fair = fair_mark(job)
    return encode_checked(job.kind, arguments_of(job), digest(job), alone=job.one_at_a_time, fair=fair)


def encode_checked(
    kind: str,
    arguments: Any,  # noqa: ANN401 - JSON
    flag: str,
    *,
    alone: bool,
    fair: str = "",
) -> bytes:
    """As `_lasting`, from a job's parts; raises BadRequest for a job that no worker could read."""
    try:
        written = encode_parts(kind, arguments, flag, alone=alone, fair=fair)
        _check_depth(written, [[arguments]])
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRequest(f"{kind}: the arguments are no JSON: {error!s:.200}", field="job") from None
    if len(written) > LARGEST:
        raise BadRequest(
            f"{kind}: the arguments have {len(written):,} bytes, over {LARGEST:,}: give ids, not rows",
            field="job",
        )
    return written


def encode_parts(
    kind: str,
    arguments: Any,  # noqa: ANN401 - JSON
    flag: str,
    *,
    alone: bool,
    fair: str = "",
) -> bytes:
    """As `encode_checked`, for parts that were checked before."""
    marks: dict[str, Any] = {"flag": flag, "alone": int(alone)} if flag else {}
    if fair:
        marks["fair"] = fair
    return serialize({**marks, "t": None, "f": kind, "a": [arguments], "k": {}})[:-1]


def finished(lasting: bytes, now_ms: int, trace: str | None) -> bytes:
    """A whole payload: the lasting part, the time of enqueueing and the trace."""
    return b'%b,"et":%d%b' % (lasting, now_ms, _after_the_time(trace))


def around_its_time(job: Job, trace: str | None) -> tuple[bytes, bytes]:
    """What a payload has before and after `,"et":` and the time, for a job that a script enqueues later."""
    return _lasting(job), _after_the_time(trace)


def _after_the_time(trace: str | None) -> bytes:
    return b',"trace":%b}' % json.dumps(trace).encode() if trace else b"}"


def decode(raw: bytes) -> Stored:
    """Read a payload; raises InvalidJob if it is not arq's dict as JSON."""
    try:
        job = deserialize(raw)
        kind, positional, named = job["f"], job["a"], job["k"]
        first_try = int(job["t"] or 1)
        enqueued_ms = whole(int(job["et"]), most=LATEST_MS)
        flag, fair, trace = job.get("flag"), job.get("fair"), job.get("trace")
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise InvalidJob(f"not arq's job as JSON: {type(error).__name__}") from None
    if not isinstance(kind, str) or not isinstance(positional, list) or not isinstance(named, dict):
        raise InvalidJob("not arq's job as JSON: f, a or k is of another type")
    if KIND.fullmatch(kind) is None:
        raise InvalidJob("f is no name of a job: 1 to 64 visible ASCII characters")
    if len(positional) + bool(named) > 1:
        raise InvalidJob("a job is one positional argument, or named ones")
    if not 1 <= first_try <= MOST_TRIES:
        raise InvalidJob(f"t is no number of a run: 1 to {MOST_TRIES}")
    return Stored(
        kind,
        positional[0] if positional else named,
        first_try,
        enqueued_ms,
        # They become parts of keys and headers, so values that encode() cannot have written are ignored.
        flag if isinstance(flag, str) and FLAG.fullmatch(flag) else "",
        fair if isinstance(fair, str) and FAIR.fullmatch(fair) else "",
        trace if isinstance(trace, str) and trace.isascii() and len(trace) <= LONGEST_TRACE else None,
    )


def _check_depth(raw: bytes, found: object) -> None:
    if raw.count(b"[") + raw.count(b"{") > DEEPEST and _depth(found) > DEEPEST:
        raise ValueError("nested too deep")


def _finite(number: str) -> float:
    found = float(number)
    if not math.isfinite(found):
        raise ValueError(f"{number} is no number of JSON")
    return found


_READER = json.JSONDecoder(parse_constant=_finite, parse_float=_finite)


def _depth(value: object) -> int:
    """Levels of lists and objects; stops counting one beyond what is allowed."""
    level, depth = [value], 0
    while depth <= DEEPEST:
        nested = [one for one in level if isinstance(one, dict | list)]
        if not nested:
            break
        level = [part for one in nested for part in (one.values() if isinstance(one, dict) else one)]
        depth += 1
    return depth
