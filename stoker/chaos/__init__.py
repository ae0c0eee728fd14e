"""Chaos as a feature: real processes under seeded faults, and a count at rest of what must have survived.

`run` starts servers, workers and web apps of its own, breaks them at random while readers and writers go on,
heals everything and then checks events, jobs, entries and keys. Works on any domain through a Workload. Never
touches servers that it has not started itself. The same stage, processes and users serve a demonstration
without faults, which an application builds of them.
"""

from stoker.chaos.options import ChaosOptions
from stoker.chaos.workload import Read, Users, Verdict, Web, Workload


def run(options: ChaosOptions) -> int:
    """Run it; the exit code: 0 only if everything held, 130 when interrupted."""
    # Only here: the processes that are broken live in this package too, and import nothing of the driver.
    from stoker.chaos.drama import perform  # noqa: PLC0415

    return perform(options)


__all__ = ["ChaosOptions", "Read", "Users", "Verdict", "Web", "Workload", "run"]
