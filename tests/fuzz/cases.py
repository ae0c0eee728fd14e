"""Values that a stranger may write: bytes, numbers and JSON of any shape, and nearly valid ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from stoker.jobs import JOBS

TIMES = int(os.environ.get("FUZZ", "1"))
ODD_NUMBERS = (
    *("nan", "inf", "-inf", "1e300", "-1e300", "abc", "", "0", "-1", "1", "1.5", " 7 ", "1_000", "0x10"),
    *(str(2**63 - 1), str(2**63), str(-(2**63)), "9" * 40, "9" * 5000, "\u0663", "1" + "0" * 400),
)


def fuzzed(examples: int, **more: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - hypothesis' own
    """So many cases, times `FUZZ`; the same ones each time unless there are more of them than usual."""
    return settings(
        max_examples=examples * TIMES,
        deadline=None,
        derandomize=TIMES == 1,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        **more,
    )


numbers = st.one_of(
    st.sampled_from(ODD_NUMBERS),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=20),
).map(lambda text: text.encode(errors="surrogatepass"))
"""What stands where a number is expected."""
scores = st.one_of(st.floats(allow_nan=False), st.integers(-(2**70), 2**70).map(float))
texts = st.text(st.characters(codec=None), max_size=80)
CHARACTERS: tuple[int, ...] = (*range(32, 127), 0, 10, 0xE4, 0x202E, 0xD800, 0xDFFF, 0xFFFF, 0x1F600)
LEAVES: tuple[Callable[[Random], Any], ...] = (
    lambda _: None,
    lambda random: random.random() < 0.5,
    lambda random: random.randrange(-5, 10),
    lambda random: random.choice([-1, 1]) * random.getrandbits(random.choice([8, 64, 1400])),
    lambda random: random.choice([0.0, -0.0, 1.5, 1e300, float("inf"), float("nan")]),
    lambda random: "".join(map(chr, (random.choice(CHARACTERS) for _ in range(random.randrange(9))))),
)


def json_of(random: Random, depth: int = 3) -> Any:  # noqa: ANN401 - any JSON
    """A value as JSON has them, and as Python's `json` reads and writes beside them."""
    shape = random.randrange(8 if depth else 6)
    if shape < 6:
        return LEAVES[shape](random)
    inner = [json_of(random, depth - 1) for _ in range(random.randrange(4))]
    return inner if shape == 6 else {str(LEAVES[5](random)): value for value in inner}


json_values = st.integers(0, 2**63).map(lambda seed: json_of(Random(seed)))
"""From a seed: Hypothesis' own recursive values take ten times as long."""
kinds = st.one_of(st.sampled_from(sorted(JOBS)), texts, json_values)
payloads: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "t": st.none() | json_values | st.integers(-5, 10**30),
        "f": kinds,
        "a": st.lists(json_values, max_size=2) | json_values,
        "k": st.just({}) | json_values,
        "et": st.integers(-(10**20), 10**400) | json_values,
    },
    optional={"flag": texts | json_values, "alone": json_values, "trace": texts | json_values},
)


def as_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON
    """Bytes as Python writes them: with NaN, Infinity and half characters."""
    return json.dumps(value, separators=(",", ":")).encode()


stored_jobs = st.one_of(
    payloads.map(as_json),
    payloads.map(lambda job: json.dumps(job, ensure_ascii=False).encode(errors="surrogatepass")),
    json_values.map(as_json),
    st.binary(max_size=200),
    st.tuples(payloads.map(as_json), st.integers(0, 400), st.binary(max_size=3)).map(
        lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + 1 :]
    ),
    st.integers(90, 3000).map(lambda deep: b'{"t":null,"f":"f","a":[' + b"[" * deep + b"]" * deep + b"]}"),
    st.sampled_from(sorted(JOBS)).map(
        lambda kind: as_json({"t": None, "f": kind, "a": [{}], "k": {}, "et": 1})
    ),
)
"""What lies under `arq:job:<id>`."""
job_ids = st.one_of(texts.map(lambda text: text.encode(errors="surrogatepass")), st.binary(max_size=70))
