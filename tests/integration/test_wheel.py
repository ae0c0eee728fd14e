"""The wheel, installed beside an application that has packages `jobs` and `worker` of its own.

Offline: built by the setuptools that is here, installed into an environment that sees the dependencies of
this one, but not this checkout.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.place import Place

ROOT = Path(__file__).parents[2]
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "shop"
version = "7.0"
dependencies = ["stoker"]
[project.scripts]
shop = "worker:main"
[tool.setuptools]
packages = ["jobs", "worker"]
"""
JOBS = """
from sqlalchemy import text
from stoker import Access, Domain, Event, Invalidation, Rule, ScopeKind, View

ORDER = ScopeKind("order")

class OrderChanged(Event):
    kind = "order.changed"
    order_id: int

async def load(session, keys):
    found = dict((await session.execute(text("SELECT id, total FROM orders"))).all())
    return {key: found[key.scope.number] for key in keys}

TOTAL = View("total", ORDER, load, access=Access.ANYONE)
domain = Domain(
    name="shop",
    scopes=(ORDER,),
    views=(TOTAL,),
    rules=(Rule(OrderChanged, lambda event: [Invalidation(ORDER.scope(event.order_id), {TOTAL})]),),
)
"""
WORKER = """
import asyncio
from jobs import OrderChanged, TOTAL, domain
from sqlalchemy import text
from stoker import Stoker

async def use():
    async with Stoker.opened(domain=domain) as stoker:
        async with stoker.session() as session, session.begin():
            await session.execute(text("CREATE TABLE orders (id bigint, total bigint)"))
            await session.execute(text("INSERT INTO orders VALUES (1, 10)"))
        before = (await stoker.read(TOTAL, 1)).value
        async with stoker.session() as session, session.begin():
            await session.execute(text("UPDATE orders SET total = 12"))
            receipt = stoker.record(session, OrderChanged(order_id=1))
        print(domain.name, before, await receipt.applied(), (await stoker.read(TOTAL, 1)).value)

def main():
    asyncio.run(use())
"""


class Environment:
    """A virtual environment with the dependencies of this one, and what is installed into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
        self.bin = folder / "venv" / "bin"
        self.packages = Path(
            run(self.bin / "python", "-c", "import site; print(site.getsitepackages()[0])").strip()
        )
        dependencies = folder / "dependencies"
        dependencies.mkdir()
        for name in ("purelib", "platlib"):
            for found in Path(sysconfig.get_path(name)).iterdir():
                if "stoker" not in found.name and not (dependencies / found.name).exists():
                    (dependencies / found.name).symlink_to(found)
        (self.packages / "dependencies.pth").write_text(f"{dependencies}\n")

    def pip(self, *arguments: str | Path) -> None:
        run(self.bin / "python", "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments)

    def install(self, wheel: Path) -> None:
        self.pip("install", "--no-deps", "--no-index", wheel)

    def has(self, package: str) -> bool:
        """Whether anything of a package is there."""
        return any(self.packages.glob(f"{package}*"))

    def is_whole(self, wheel: Path) -> bool:
        """Whether every file of a wheel's packages is there as it was."""
        unzipped = zipfile.ZipFile(wheel)
        names = [name for name in unzipped.namelist() if ".dist-info/" not in name]
        return all((self.packages / name).read_bytes() == unzipped.read(name) for name in names)

    def __call__(self, program: str, *arguments: str, **variables: str) -> str:
        """What a program of this environment prints."""
        return run(self.bin / program, *arguments, where=self.folder, **variables)


def run(program: str | Path, *arguments: str | Path, where: Path = ROOT, **variables: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own programs
        [program, *arguments],
        cwd=where,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{program} {arguments}:\n{done.stdout}{done.stderr}"
    return done.stdout


def built(source: Path, into: Path) -> Path:
    """The wheel of a source folder."""
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", into, source)
    [wheel] = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stoker's."""
    folder = tmp_path_factory.mktemp("stoker")
    source = shutil.copytree(ROOT, folder / "source", ignore=NOT_SOURCE)
    return built(Path(source), folder / "wheel")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The wheel of an application with packages `jobs` and `worker`."""
    source = tmp_path / "shop"
    for name, code in (("jobs", JOBS), ("worker", WORKER)):
        (source / name).mkdir(parents=True)
        (source / name / "__init__.py").write_text(code)
    (source / "pyproject.toml").write_text(PYPROJECT)
    return built(source, tmp_path / "wheel")


@contextmanager
def worker(environment: Environment, variables: dict[str, str]) -> Iterator[None]:
    """`stoker run`, once it has started."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [environment.bin / "stoker", "run"],
        cwd=environment.folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if "worker.started" in line:
                break
        else:
            pytest.fail("".join(said))
        yield
    finally:
        process.kill()
        process.communicate()


def test_the_wheel_holds_the_package_stoker_and_all_of_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"stoker"}
    ours = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "stoker").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in names if name.startswith("stoker/")} == ours


def test_an_application_with_packages_of_the_same_names_as_ours_works_beside_it(
    tmp_path: Path, wheel: Path, shop: Path, place: Place
) -> None:
    environment = Environment(tmp_path)
    environment.install(wheel)
    environment.install(shop)
    assert environment("stoker", "--version") == "stoker 0.1.0\n"
    variables = {"STOKER__DOMAIN": "jobs", **place.environment()}
    assert "applied" not in environment("stoker", "migrate", **variables), "the template had all of it"
    with worker(environment, {"PATH": "/usr/bin:/bin", **variables}):
        assert environment("shop", **variables) == "shop 10 applied 12\n"

    environment.pip("uninstall", "--yes", "shop")
    assert not any(environment.has(name) for name in ("jobs", "worker", "shop"))
    assert environment.is_whole(wheel)
    assert environment("stoker", "--version") == "stoker 0.1.0\n"

    environment.install(shop)
    environment.pip("uninstall", "--yes", "stoker")
    assert not environment.has("stoker")
    assert environment.is_whole(shop)
