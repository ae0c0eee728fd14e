"""DATABASE_URL as a host's panel prints it: libpq's options reach Postgres or are refused with one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import DatabaseUnavailable, SettingsError
from stoker.migrate import pending
from stoker.postgres import application_engine, loader_engine, short_connection
from stoker.settings import Settings, load_settings
from stoker.worker.check import check
from tests.support.tls_front import OPENSSL, certificate, front

needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="nothing makes certificates here")


def settings(url: str) -> Settings:
    return load_settings(database_url=SecretStr(url))


def with_options(url: str, options: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{options}"


async def shown(engine: AsyncEngine, name: str) -> str:
    try:
        async with short_connection(engine) as connection:
            return str(await connection.scalar(text(f"SHOW {name}")))
    finally:
        await engine.dispose()


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("application_name=a%20panel", "application_name", "a panel"),
        ("options=-cwork_mem%3D5MB", "work_mem", "5MB"),
        ("connect_timeout=0&sslmode=prefer", "ssl", "off"),
        ("connect_timeout=7&statement_cache_size=0&ssl=disable&target_session_attrs=any", "ssl", "off"),
    ],
)
async def test_an_option_of_libpq_is_kept(database_url: str, option: str, name: str, value: str) -> None:
    taken = settings(with_options(database_url, option))
    assert await shown(application_engine(taken), name) == value
    loaders = await shown(loader_engine(taken), name)
    assert loaders == ("stoker loader" if name == "application_name" else value)
    assert taken.database_url is not None
    assert await pending(taken.database_url.get_secret_value(), None) == []


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("channel_binding=require", "takes no option 'channel_binding'"),
        ("sslmode=always", "sslmode must be one of disable, .*verify-full"),
        ("sslmode=verify-full&sslrootcert=/nowhere/hunter2.pem", "sslrootcert is no file that can be read"),
        ("connect_timeout=hunter2", "connect_timeout must be a whole number"),
        ("hunter2@x=1", "takes no option so named"),
    ],
)
def test_an_option_that_cannot_be_kept_is_refused_in_one_line(option: str, said: str) -> None:
    with pytest.raises(SettingsError, match=rf"^\w+: {said}.*$") as refused:
        settings(f"postgresql://somebody:hunter2@somewhere/x?{option}")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("postgres://u:p@a:5432,b:5433/x?sslmode=require", "u:p@/x?host=a:5432&host=b:5433&sslmode=require"),
        ("postgresql://a,b", "/?host=a:5432&host=b:5432"),
        ("postgresql://u:p,q@a/x", "u:p,q@a/x"),
    ],
)
def test_several_hosts_are_taken_as_psql_takes_them(given: str, taken: str) -> None:
    url = settings(given).database_url
    assert url is not None
    assert url.get_secret_value() == f"postgresql+asyncpg://{taken}"


def test_a_url_that_is_none_is_refused_unseen() -> None:
    with pytest.raises(SettingsError, match="is not of the form") as refused:
        settings("postgresql://somebody@somewhere:hunter2/x")
    assert "hunter2" not in str(refused.value)


@needs_openssl
async def test_tls_is_asked_for_and_the_servers_certificate_is_checked(
    database_url: str, tmp_path: Path
) -> None:
    ours, other = certificate(tmp_path, "ours"), certificate(tmp_path, "other")
    async with front(database_url, ours) as place:
        for option in ("require", "verify-full&sslrootcert={}", "verify-ca&sslrootcert={}"):
            taken = settings(f"postgres://{place}?sslmode={option.format(ours[0])}")
            assert await shown(application_engine(taken), "ssl") == "off", "behind the front there is none"
        wrong = settings(f"postgres://{place}?sslmode=verify-full&sslrootcert={other[0]}")
        with pytest.raises(DatabaseUnavailable, match="certificate verify failed"):
            await shown(application_engine(wrong), "ssl")


async def test_a_server_without_tls_is_refused_in_one_line_where_tls_is_required(database_url: str) -> None:
    async with front(database_url, None) as place:
        for option in ("disable", "prefer"):
            taken = settings(f"postgres://{place}?sslmode={option}")
            assert await shown(application_engine(taken), "ssl") == "off"
        taken = settings(f"postgres://{place}?sslmode=require")
        with pytest.raises(DatabaseUnavailable, match=r"^Postgres does not answer: .*rejected SSL upgrade$"):
            await shown(application_engine(taken), "ssl")
        found = await check(load_settings(database_url=taken.database_url))
        assert any("rejected SSL upgrade" in finding.message for finding in found)
