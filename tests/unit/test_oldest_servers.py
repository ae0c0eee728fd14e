"""Which Redis is too old, by its role."""

from __future__ import annotations

import pytest

from stoker.worker.check_redis import _any_redis


@pytest.mark.parametrize(
    ("role", "version", "refused"),
    [
        ("queue", "6.2.14", "the queue Redis is 6.2.14: 7.0 or newer is needed"),
        ("queue", "7.0.0", None),
        ("cache", "6.0.16", "the cache Redis is 6.0.16: 6.2 or newer is needed"),
        ("cache", "6.2.14", None),
        ("queue", "10.1.0", None),
    ],
)
def test_a_redis_is_refused_that_cannot_run_the_scripts_of_its_role(
    role: str, version: str, refused: str | None
) -> None:
    said = [finding.message for finding in _any_redis(role, {"redis_version": version})]
    assert said == ([refused] if refused else [])
