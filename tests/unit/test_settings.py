"""Settings: the file, the environment, and what is refused."""

from __future__ import annotations

import os
import re
import tomllib
import traceback
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from redis.asyncio.connection import Connection, parse_url

from stoker.domain import load_domain
from stoker.errors import DeclarationError, SettingsError
from stoker.jobs import LANES, Lane
from stoker.settings import Settings, address_of, load_settings, settings_file
from stoker.stoker import Stoker
from stoker.worker.check import check

SHIPPED = Path(__file__).parents[2] / "settings.toml"
OWN_NAMES = ("REDIS_URL", "CACHE_REDIS_URL", "DATABASE_URL", "CACHE_DEFAULT_TTL", "ENABLE_BACKGROUND_WARMING")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name in OWN_NAMES or name.startswith("STOKER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(text: str) -> None:
    Path("settings.toml").write_text(text)


def leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        table = isinstance(kind, type) and issubclass(kind, BaseModel)
        found |= leaves(kind, f"{prefix}{name}.") if table and isinstance(kind, type) else {f"{prefix}{name}"}
    return found


def keys(table: dict[str, Any], known: set[str], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in table.items():
        path = f"{prefix}{name}"
        found |= keys(value, known, f"{path}.") if isinstance(value, dict) and path not in known else {path}
    return found


def test_the_shipped_file_lists_every_setting_and_nothing_else() -> None:
    known = leaves(Settings)
    assert keys(tomllib.loads(SHIPPED.read_text()), known) == known


def test_the_shipped_file_gives_each_setting_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = load_settings()
    monkeypatch.setenv("STOKER_SETTINGS", str(SHIPPED))
    assert load_settings() == defaults.model_copy(update={"domain": "jobs"})  # of this application


def test_every_setting_of_the_shipped_file_says_something_about_itself() -> None:
    lines = SHIPPED.read_text().splitlines()
    for before, line in pairwise(lines):
        if line and not line.startswith("#"):
            assert before.startswith("# "), line


def test_every_field_says_what_it_does() -> None:
    def tables(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
        yield model
        for field in model.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from tables(field.annotation)

    assert all(table.__doc__ for table in tables(Settings))


def test_a_web_app_reads_the_same_file_without_the_workers_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOKER_SETTINGS", str(SHIPPED))
    assert load_settings().cache.lease_s == 20


@pytest.mark.parametrize(
    ("variable", "value", "path", "expected"),
    [
        ("STOKER__CACHE__LEASE_S", "31", "cache.lease_s", 31),
        ("STOKER__LANES__REFRESH__CONCURRENCY", "3", "lanes.refresh.concurrency", 3),
        ("CACHE_DEFAULT_TTL", "77", "default_ttl_s", 77),
        ("ENABLE_BACKGROUND_WARMING", "false", "schedule.enable_background_warming", False),
        ("STOKER__DOMAIN", "some.other", "domain", "some.other"),
    ],
)
def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, path: str, expected: object
) -> None:
    write(
        'domain = "of.the.file"\ndefault_ttl_s = 5\n[cache]\nlease_s = 30\nlease_wait_s = 4\n'
        "[lanes.refresh]\nconcurrency = 9\n[schedule]\nenable_background_warming = true\n"
    )
    monkeypatch.setenv(variable, value)
    found: Any = load_settings()
    assert found.cache.lease_wait_s == 4  # the rest of a table still comes from the file
    for name in path.split("."):
        found = getattr(found, name)
    assert found == expected


def test_redis_url_is_read_by_its_plain_name(monkeypatch: pytest.MonkeyPatch) -> None:
    write('redis_url = "redis://of-the-file"\n')
    monkeypatch.setenv("REDIS_URL", "rediss://of-the-environment:6380/1")
    url = load_settings().redis_url
    assert url is not None
    assert url.get_secret_value() == "rediss://of-the-environment:6380/1"


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://of-the-environment")
    url = load_settings(redis_url="redis://of-an-argument").redis_url
    assert url is not None
    assert url.get_secret_value() == "redis://of-an-argument"


def test_an_empty_url_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    assert load_settings().database_url is None


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@somewhere")
    assert "hunter2" not in repr(load_settings())


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2/x@somewhere:6379/0",
        "redis://:hunter2?x@somewhere",
        "redis://user:hunter2#x@somewhere",
        "rediss://:12/hunter2@somewhere",
        "redis://:12?hunter2=@somewhere",
        "redis://:12#hunter2@somewhere",
        "redis://[hunter2@somewhere",
        "redis://:hunter\N{ACCOUNT OF}2@somewhere",
        "redis://:hunter2/x@a:1,b:2?cluster=true",
        "redis+sentinel://:hunter2#x@a,b/m",
    ],
)
def test_a_password_with_special_characters_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(SettingsError, match=r"REDIS_URL.*%2F") as refused:
        load_settings()
    told = "".join(traceback.format_exception(refused.value))
    assert "hunter" not in told


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:a%2Fb%3Fc%23d%40e@somewhere:6380/1",
        "rediss://somewhere?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=true&db=2",
        "unix://user:word@/run/redis.sock?db=1",
        "redis://[::1]:6379",
    ],
)
def test_a_redis_url_that_its_client_takes_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    taken = load_settings().redis_url
    assert taken is not None
    options: Any = dict(parse_url(taken.get_secret_value()))
    options.pop("connection_class", Connection)(**options)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("tll = 3\n", "tll"),
        ("[cache]\nleese_s = 3\n", "cache.leese_s"),
        ("[lanes.warm]\nconcurency = 3\n", "lanes.warm.concurency"),
        ("[shedule]\nlease_s = 3\n", "shedule"),
    ],
)
def test_an_unknown_key_of_the_file_is_refused_by_name(text: str, named: str) -> None:
    write(text)
    with pytest.raises(SettingsError, match=named):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "named"),
    [
        ("STOKER__CACHE__LEESE_S", "cache.leese_s"),
        ("STOKER__CASH__LEASE_S", "STOKER__CASH__LEASE_S"),
        ("STOKER__LANES__WARM__CONCURENCY", "lanes.warm.concurency"),
        ("STOKER__REDIS_URL", "redis_url"),
    ],
)
def test_an_unknown_variable_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, named: str
) -> None:
    monkeypatch.setenv(variable, "3")
    with pytest.raises(SettingsError, match=named):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("CACHE_DEFAULT_TTL", "0", "CACHE_DEFAULT_TTL"),
        ("CACHE_DEFAULT_TTL", "soon", "CACHE_DEFAULT_TTL"),
        ("CACHE_DEFAULT_TTL", "900000", "keep_settled_s"),
        ("ENABLE_BACKGROUND_WARMING", "perhaps", "enable_background_warming"),
        ("REDIS_URL", "http://somewhere", "REDIS_URL"),
        ("REDIS_URL", "redis://somewhere/0?max_connections=20", "REDIS_URL.*max_connections"),
        ("REDIS_URL", "redis://somewhere/0?ssl_ca_certs=ca.pem", "REDIS_URL.*ssl_ca_certs"),
        ("REDIS_URL", "unix:///redis.sock?timeout=5", "REDIS_URL.*timeout"),
        ("CACHE_DEFAULT_TTL", "5184000", "CACHE_DEFAULT_TTL"),
        ("STOKER__CACHE__TTL_S", '{"detail": 5184000}', r"cache\.ttl_s\.detail"),
        ("STOKER__CACHE__FAIL_SAFE_S", "inf", r"cache\.fail_safe_s"),
        ("STOKER__CACHE__WATCH_S", "inf", r"cache\.watch_s"),
        ("CACHE_DEFAULT_TTL", "nan", "CACHE_DEFAULT_TTL"),
        ("CACHE_REDIS_URL", "redis+sentinel://somewhere", "CACHE_REDIS_URL.*names no master"),
        ("CACHE_REDIS_URL", "redis+sentinel://a,/m/0", "CACHE_REDIS_URL.*leave the comma out"),
        ("CACHE_REDIS_URL", "redis+sentinel://a/m/0?sentinel_tls=perhaps", "sentinel_tls=true or"),
        ("CACHE_REDIS_URL", "redis+sentinel://a/m/0?quorum=2", "CACHE_REDIS_URL.*quorum"),
        ("CACHE_REDIS_URL", "redis+sentinel://a:x/m/0", "CACHE_REDIS_URL.*is not of the form"),
        ("CACHE_REDIS_URL", "redis://a:1,b:2", "CACHE_REDIS_URL.*write .cluster=true"),
        ("CACHE_REDIS_URL", "redis://a:1,b:2/1?cluster=true", "a cluster has only database 0"),
        ("CACHE_REDIS_URL", "redis://a:1,b:2?cluster=maybe", "CACHE_REDIS_URL.*takes cluster=true"),
        ("CACHE_REDIS_URL", "unix:///a.sock?cluster=true", "CACHE_REDIS_URL.*by host and port"),
        ("REDIS_URL", "redis://a:1,b:2?cluster=true", "REDIS_URL.*is of a cluster: the queue needs a single"),
        ("DATABASE_URL", "sqlite:///x", "DATABASE_URL"),
        ("STOKER__LANES__REFRESH__CONCURRENCY", "0", "lanes.refresh.concurrency"),
        ("STOKER__SCHEDULE__LEASE_S", "-1", "schedule.lease_s"),
        ("STOKER__SCHEDULE__LATE__PRUNE", "never", "schedule.late.prune"),
        ("STOKER__SCHEDULE__OVERLAP__PRUNE", "perhaps", "schedule.overlap.prune"),
        ("STOKER__LANES__WARM__RATE_PER_S", "-1", "lanes.warm.rate_per_s"),
        ("STOKER__API__PORT", "70000", "api.port"),
        ("STOKER__API__TOKENS", '[{"name": "a", "role": "root", "sha256": "00"}]', r"api\.tokens\.0\.role"),
        ("STOKER__API__TOKENS", '[{"name": "a", "role": "viewer"}]', "either sha256 or token"),
        ("STOKER__API__TOKENS", "[{", "api"),
        ("STOKER__LOG__FORMAT", "xml", "log.format"),
        ("STOKER_SETTINGS", "/nowhere/settings.toml", "STOKER_SETTINGS"),
    ],
)
def test_an_impossible_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, named: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=named):
        load_settings()


async def test_a_life_for_a_view_that_does_not_exist_is_refused_where_a_process_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STOKER__DOMAIN", "jobs")
    monkeypatch.setenv("STOKER__CACHE__TTL_S", '{"dashbord": 60, "detail": 60}')
    settings, wrong = load_settings(), r"^cache\.ttl_s\.dashbord: .* did you mean dashboard\?$"
    with pytest.raises(SettingsError, match=wrong):
        await Stoker.open(settings)  # before any server is asked: none is named here
    assert any(re.search(wrong, finding.message) for finding in await check(settings))


def test_a_file_that_is_no_toml_is_refused() -> None:
    write("[cache\n")
    with pytest.raises(SettingsError):
        load_settings()


def test_lanes_have_the_settings_of_their_name() -> None:
    write("[lanes.changes]\nconcurrency = 1\n")
    assert load_settings().lanes.concurrency(LANES) == {
        Lane.CHANGES: 1,
        Lane.REFRESH: 6,
        Lane.WARM: 2,
    }


def test_a_token_is_known_by_its_digest_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "STOKER__API__TOKENS", '[{"name": "ops", "role": "operator", "token": "sixteen letters!"}]'
    )
    (token,) = load_settings().api.tokens
    assert "sixteen" not in repr(token)
    assert len(token.digest) == 64


def test_the_file_is_found_upwards_as_far_as_the_first_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "app" / "deep"
    below.mkdir(parents=True)
    (tmp_path / "settings.toml").write_text("default_ttl_s = 1\n")  # of whoever owns the folder above
    monkeypatch.chdir(below)
    assert settings_file() is None
    (tmp_path / "app" / "pyproject.toml").touch()
    assert settings_file() is None
    (tmp_path / "app" / "settings.toml").write_text("default_ttl_s = 2\n")
    assert load_settings().default_ttl_s == 2
    (tmp_path / "app" / "stoker.toml").write_text("default_ttl_s = 3\n")
    assert load_settings().default_ttl_s == 3
    monkeypatch.setenv("STOKER_SETTINGS", str(tmp_path / "settings.toml"))
    assert load_settings().default_ttl_s == 1


def test_without_a_domain_a_process_says_how_to_set_it() -> None:
    with pytest.raises(SettingsError, match=r"STOKER__DOMAIN=shop\.caching"):
        load_domain(load_settings().domain)


def test_a_domain_is_named_by_its_module_and_if_need_be_its_name() -> None:
    assert load_domain("jobs") is load_domain("jobs:domain")
    with pytest.raises(DeclarationError, match="jobs has no `nothing`"):
        load_domain("jobs:nothing")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://user:secret@cache:6379/0", "cache:6379"),
        ("unix:///run/valkey.sock?db=1&password=secret", "/run/valkey.sock"),
        ("postgresql+asyncpg://user:secret@db:5432/app?sslmode=require", "db:5432"),
        ("postgresql+asyncpg://user@/app?host=/run/postgres&port=5433&password=secret", "/run/postgres:5433"),
    ],
)
def test_the_address_of_a_server_holds_no_credentials(url: str, address: str) -> None:
    assert address_of(url) == address
