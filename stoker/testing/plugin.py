"""The pytest plugin: fixtures for the tests of an application that uses Stoker.

pytest loads it wherever Stoker is installed, so it imports nothing of Stoker before a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stoker import Domain, Settings, Stoker
    from stoker.embedded import Embedded
    from stoker.testing.started import Places


def pytest_addoption(parser: pytest.Parser) -> None:
    """The ini option `stoker_domain`."""
    parser.addini(
        "stoker_domain", 'the module that has your stoker.Domain, such as "shop.caching"', default=""
    )


def pytest_configure(config: pytest.Config) -> None:
    """Add the asynchronous fixture as the plugin that runs asynchronous tests takes it."""
    fixture: Callable[..., Any] = pytest.fixture
    if config.pluginmanager.hasplugin("asyncio"):
        fixture = __import__("pytest_asyncio").fixture  # in its strict mode it runs no others
    config.pluginmanager.register(_Asynchronous(fixture), "stoker-asynchronous")


@pytest.fixture(scope="session")
def stoker_domain(pytestconfig: pytest.Config) -> Domain:
    """The domain under test: that of the ini option, else of the settings. Override it to give another."""
    from stoker.domain import load_domain  # noqa: PLC0415 - see above
    from stoker.errors import SettingsError  # noqa: PLC0415
    from stoker.settings import load_settings  # noqa: PLC0415

    try:
        return load_domain(pytestconfig.getini("stoker_domain") or load_settings().domain)
    except SettingsError as error:
        raise pytest.UsageError(
            f'{error}. For tests: stoker_domain = "shop.caching" under [tool.pytest.ini_options], or a '
            'fixture `stoker_domain` of scope "session" that returns your Domain'
        ) from None


@pytest.fixture(scope="session")
def stoker_tables() -> Callable[[str], Any] | None:
    """Override it to return a function of a database URL, async or not, that makes your own tables.

    Not needed where the domain's `migrations` make them.
    """
    return None


@pytest.fixture(scope="session")
def stoker_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Postgres and two Redis servers of this test session: `.cache.stop()`, `.cache.start()`, `.urls`.

    What a test leaves stopped is started again before the next one.
    """
    from stoker import embedded  # noqa: PLC0415

    with embedded.start(tmp_path_factory.mktemp("stoker"), durable=False) as running:
        yield running


@pytest.fixture(scope="session")
def _stoker_places(stoker_servers: Embedded) -> Places:
    from stoker.testing.started import Places  # noqa: PLC0415

    return Places(stoker_servers)


@pytest.fixture
def stoker_settings(
    _stoker_places: Places,
    stoker_domain: Domain,
    stoker_tables: Callable[[str], Any] | None,
) -> Iterator[Settings]:
    """Settings that lead to a clean database of the test's own and to empty Redis servers."""
    with _stoker_places.clean(stoker_domain, stoker_tables) as settings:
        yield settings


async def _stoker(self: object, stoker_settings: Settings, stoker_domain: Domain) -> AsyncIterator[Stoker]:  # noqa: ARG001 - a method
    """A Stoker of the domain under test, on clean servers; no worker runs."""
    from stoker.stoker import Stoker  # noqa: PLC0415

    async with Stoker.opened(stoker_settings, stoker_domain) as stoker:
        yield stoker


class _Asynchronous:
    """Holds the fixture `stoker`."""

    def __init__(self, fixture: Callable[..., Any]) -> None:
        type(self).stoker = fixture(_stoker, name="stoker")  # type: ignore[attr-defined]
