"""Write the bill of materials of the image, as CycloneDX 1.5: what the hash-pinned lock installs.

`python -m tests.supply.materials build/sbom.json`. Names, versions and hashes are the lock's, licences
are those of the installed packages. Two runs on one lock write the same bytes.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, NamedTuple

LOCK = Path(__file__).parents[2] / "docs" / "operations" / "docker" / "requirements.lock"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class Pinned(NamedTuple):
    """A package of the lock."""

    name: str
    version: str
    hashes: tuple[str, ...]


def pinned(lock: Path = LOCK) -> list[Pinned]:
    """Every package that a lock installs, by name."""
    found: list[Pinned] = []
    for line in lock.read_text().splitlines():
        if match := PINNED.match(line):
            found.append(Pinned(match[1].lower(), match[2], ()))
        elif found and (given := HASH.search(line)):
            found[-1] = found[-1]._replace(hashes=(*found[-1].hashes, given[1]))
    return sorted(found)


def bill(packages: list[Pinned]) -> dict[str, Any]:
    """The bill of materials of packages."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "stoker"}},
        "components": [_component(package) for package in packages],
    }


def _component(package: Pinned) -> dict[str, Any]:
    url = f"pkg:pypi/{package.name}@{package.version}"
    licence = _licence(package.name)
    return {
        "type": "library",
        "bom-ref": url,
        "name": package.name,
        "version": package.version,
        "purl": url,
        "hashes": [{"alg": "SHA-256", "content": one} for one in package.hashes],
        **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
    }


def _licence(name: str) -> str | None:
    try:
        told = metadata(name)
    except PackageNotFoundError:  # of another platform
        return None
    found = [told[field] for field in ("License-Expression", "License") if field in told]
    return str(found[0]).splitlines()[0][:80] if found and found[0] else None


if __name__ == "__main__":
    written = Path(sys.argv[1])
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps(bill(pinned()), indent=2) + "\n")
    sys.stdout.write(f"{written}: {len(pinned())} packages\n")
