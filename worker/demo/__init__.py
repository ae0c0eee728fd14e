"""The demonstration: real servers, a worker, a small web app, and many users who check what they are shown.

The only place outside the domain that names projects. `run` starts everything, drives it over HTTP for a
while, compares the cache with SQL, reports, and stops everything again.
"""

from worker.demo.options import DemoOptions


def run(options: DemoOptions) -> int:
    """Run it; the exit code: 0 only if nothing was wrong and every floor was met, 130 when interrupted."""
    # Only here, so that the web app, which lives in this package too, imports nothing of the driver.
    from worker.demo.demonstration import demonstrate  # noqa: PLC0415

    return demonstrate(options)


__all__ = ["DemoOptions", "run"]
