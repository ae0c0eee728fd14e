"""Starts pytest in arq's folder: its `tests` package is arq's, not this repository's."""

from __future__ import annotations

import sys

import pytest

from bench.arq_suite import plugin

ROOT, *ARGUMENTS = sys.argv[1:]
OWN = ("no:valkey", "no:schemathesis", "no:stoker")

if __name__ == "__main__":
    sys.path[:] = [".", *(path for path in sys.path if path not in ("", ROOT))]
    disabled = [option for name in OWN for option in ("-p", name)]
    sys.exit(pytest.main([*disabled, *ARGUMENTS], plugins=[plugin]))
