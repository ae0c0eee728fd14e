"""Ask OSV (https://osv.dev) what is known against the packages of the lock.

`python -m tests.supply.known`. Exit 0: nothing is known, or the data cannot be had here, and it says so.
Exit 1: something is, with its number. `OSV_URL` names another server, a mirror for instance.
"""

from __future__ import annotations

import os
import sys

import httpx

from tests.supply.materials import Pinned, pinned

PUBLIC = "https://api.osv.dev"
WAIT_S = 20


def known(packages: list[Pinned], url: str) -> dict[str, list[str]]:
    """Numbers of vulnerabilities, by package; raises httpx.HTTPError where the data cannot be had."""
    queries = [
        {"package": {"ecosystem": "PyPI", "name": one.name}, "version": one.version} for one in packages
    ]
    answer = httpx.post(f"{url}/v1/querybatch", json={"queries": queries}, timeout=WAIT_S)
    answer.raise_for_status()
    results = answer.json()["results"]
    return {
        f"{one.name} {one.version}": [each["id"] for each in found["vulns"]]
        for one, found in zip(packages, results, strict=True)
        if found.get("vulns")
    }


def main() -> int:
    """Say what is known; the exit code."""
    url, packages = os.environ.get("OSV_URL", PUBLIC), pinned()
    try:
        found = known(packages, url)
    except httpx.HTTPError as error:
        sys.stdout.write(f"skipped: no answer from {url} ({type(error).__name__}: {error})\n")
        return 0
    for package, numbers in found.items():
        sys.stdout.write(f"{package}: {', '.join(numbers)}\n")
    sys.stdout.write(f"{len(packages)} packages asked about, {len(found)} with something known\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
