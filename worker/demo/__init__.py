"""The demonstration: real servers, a worker, a small web app, and many users who check every answer.

`run` starts everything, drives it over HTTP for a while, compares the cache with SQL, reports, and stops
everything again.
"""

from worker.demo.options import DemoOptions


def run(options: DemoOptions) -> int:
    """Run it; the exit code: 0 only if nothing was wrong and every floor was met, 130 when interrupted."""
    # Imported here, so that the web app, which is in this package, too, does not import the driver.
    from worker.demo.demonstration import demonstrate  # noqa: PLC0415

    return demonstrate(options)


__all__ = ["DemoOptions", "run"]
