"""Chaos, and processes that lack one guard each: a check that cannot fail is worth nothing."""
