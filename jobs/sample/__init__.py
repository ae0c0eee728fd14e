"""Plausible data of any size from a seed: for the demo, benchmarks and tests."""

from jobs.sample.load import is_empty, load

__all__ = ["is_empty", "load"]
