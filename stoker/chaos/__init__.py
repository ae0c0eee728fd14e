"""Chaos as a feature: real processes under seeded faults, and a count at rest of what must have survived.

`run` starts servers, workers and web apps of its own, breaks them at random under load, heals everything and
then checks events, jobs, entries and keys. It works on any domain through a Workload, and never touches
servers that it did not start. An application can use the same stage, processes and users for a demonstration
without faults.
"""

from stoker.chaos.options import ChaosOptions
from stoker.chaos.workload import Read, Users, Verdict, Web, Workload


def run(options: ChaosOptions) -> int:
    """Run it; the exit code: 0 only if everything held, 130 when interrupted."""
    # Imported here: the processes under chaos import this package, too, and must not load the driver.
    from stoker.chaos.drama import perform  # noqa: PLC0415

    return perform(options)


__all__ = ["ChaosOptions", "Read", "Users", "Verdict", "Web", "Workload", "run"]
