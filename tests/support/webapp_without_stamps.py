"""The demonstration's web app without its safety: entries count as valid whatever their stamps are.

A test runs it instead of the web app, to show that the demonstration detects the fault. It takes uvicorn's
arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import uvicorn

from stoker.cache import lookup
from stoker.cache.reading import Found, Miss

judge: Callable[..., Found] = lookup._judge


def judge_without_stamps(*fetched: Any) -> Found:  # noqa: ANN401 - whatever the real one takes
    found = judge(*fetched)
    return found._replace(miss=None) if found.miss is Miss.INVALIDATED else found


if __name__ == "__main__":
    setattr(lookup, "_judge", judge_without_stamps)  # noqa: B010 - its type is that of the real one
    uvicorn.main(["worker.demo.webapp:app", *sys.argv[1:]])
