"""The token of the first start: in a file for its user alone, said once, and only where there is no other."""

from __future__ import annotations

import asyncio
import os
import pty
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker import embedded
from stoker.errors import SettingsError
from stoker.migrate import migrate
from stoker.operations import tokens
from stoker.operations.audit import Actor
from stoker.operations.first_token import FILE, first_token
from stoker.operations.tokens import Tokens
from stoker.settings import Role, Settings
from stoker.stoker import Stoker
from tests.integration.cli import APPLICATION
from tests.library import domain
from tests.support.callers import OSCAR, client
from tests.support.place import Place


@pytest.fixture
def settings(place: Place) -> Settings:
    return place.settings()


@pytest.fixture
async def stoker(place: Place, settings: Settings) -> AsyncIterator[Stoker]:
    await migrate(place.database_url, domain)
    async with Stoker.opened(settings, domain) as opened:
        yield opened


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_the_first_start_makes_an_operators_token_that_only_its_user_can_read(
    stoker: Stoker, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    umask = os.umask(0)
    try:
        first = await first_token(stoker, settings, folder)
    finally:
        os.umask(umask)
    assert first is not None
    assert first.made
    assert (mode(first.file), mode(folder)) == (0o600, 0o700)
    assert first.file.read_text().strip() == first.token
    assert names(folder) == [FILE]
    async with client(stoker, settings, first.token) as api:
        assert (await api.get("/api/tokens")).status_code == 200, "an operator's"
    second = await first_token(stoker, settings, folder)
    assert second is not None
    assert (second.made, second.token) == (False, first.token)


async def test_starts_at_the_same_time_make_one_token(
    stoker: Stoker, settings: Settings, tmp_path: Path
) -> None:
    same = await asyncio.gather(*(first_token(stoker, settings, tmp_path / "data") for _ in range(4)))
    found = [first for first in same if first is not None]
    assert len(found) == 4
    assert sum(first.made for first in found) == 1
    assert len({first.token for first in found}) == 1


async def test_a_token_that_another_start_adds_between_two_queries_is_known(
    stoker: Stoker, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_ever = tokens._any_ever

    async def after_another_start(engine: AsyncEngine) -> bool:
        monkeypatch.undo()
        assert (other := await first_token(stoker, settings, tmp_path)) is not None
        assert other.made
        return await any_ever(engine)

    monkeypatch.setattr(tokens, "_any_ever", after_another_start)
    second = await first_token(stoker, settings, tmp_path)
    assert second is not None
    assert not second.made


async def test_a_start_that_was_cut_off_after_the_file_takes_its_token_at_the_next(
    stoker: Stoker, settings: Settings, tmp_path: Path
) -> None:
    first = await first_token(stoker, settings, tmp_path)
    assert first is not None
    async with stoker.engine.begin() as connection:
        await connection.execute(text("DELETE FROM stoker.api_tokens"))
    again = await first_token(stoker, settings, tmp_path)
    assert again is not None
    assert (again.made, again.token) == (True, first.token)


async def test_none_is_made_where_there_are_or_were_others(
    stoker: Stoker, settings: Settings, tmp_path: Path
) -> None:
    api = type(settings.api)(tokens=[OSCAR])
    assert await first_token(stoker, settings.model_copy(update={"api": api}), tmp_path) is None
    await tokens.add(stoker, Actor("test"), "ann", Role.VIEWER)
    assert await first_token(stoker, settings, tmp_path) is None
    await tokens.revoke(stoker, Actor("test"), "ann")
    assert await first_token(stoker, settings, tmp_path) is None
    assert names(tmp_path) == []


async def test_facing_the_network_none_is_made(stoker: Stoker, settings: Settings, tmp_path: Path) -> None:
    facing = settings.model_copy(update={"api": type(settings.api)(host="0.0.0.0")})  # noqa: S104 - never bound
    with pytest.raises(SettingsError, match="tokens must be set"):
        await first_token(stoker, facing, tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("how", ["readable", "link"])
async def test_a_token_that_somebody_else_could_have_put_there_is_not_taken(
    stoker: Stoker, settings: Settings, tmp_path: Path, how: str
) -> None:
    file = tmp_path / FILE
    target = tmp_path / "elsewhere"
    (target if how == "link" else file).write_text("a-token-that-others-know\n")
    if how == "link":
        target.chmod(0o600)
        file.symlink_to(target)
    else:
        file.chmod(0o644)
    with pytest.raises(SettingsError, match=FILE):
        await first_token(stoker, settings, tmp_path)
    known = Tokens((), stoker.engine)
    await known.load()
    assert known.none_ever


def test_up_says_the_token_once_with_the_consoles_address_and_never_to_a_log(tmp_path: Path) -> None:
    """To a terminal, as Jupyter does; a log collector only learns where it lies."""
    first, second = _said(tmp_path), _said(tmp_path)
    token = (tmp_path / ".data" / FILE).read_text().strip()
    assert f"/#token={token}" in first
    assert token not in second
    assert FILE in second


def _said(where: Path) -> str:
    """What `stoker up` says on a terminal until it is ready; then it is stopped."""
    plain = {
        name: value for name, value in os.environ.items() if not name.endswith(("REDIS_URL", "DATABASE_URL"))
    }
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "stoker", "up", "--port", "0", "--no-sample-data"]
    process = subprocess.Popen(  # noqa: S603 - our own program
        command, cwd=where, env={**plain, **APPLICATION}, stdout=theirs, stderr=subprocess.DEVNULL, text=True
    )
    os.close(theirs)
    said = b""
    try:
        while b"Ctrl-C" not in said:
            said += os.read(ours, 65536)
    finally:
        process.terminate()
        process.wait(60)
        os.close(ours)
    return said.decode()


def test_the_data_folder_is_its_users_alone_whatever_it_was(tmp_path: Path) -> None:
    """Guard: a mode given to mkdir says nothing of a folder that is there, and is cut by the umask."""
    empty, ours, foreign = (tmp_path / name for name in ("empty", "ours", "foreign"))
    for folder in (empty, ours, foreign):
        folder.mkdir()
        folder.chmod(0o755)
    (ours / "owner.lock").touch()
    (foreign / "thesis.txt").touch()
    for folder in (empty, ours, foreign, tmp_path / "new"):
        embedded.folder.make_private(folder)
    assert [mode(tmp_path / name) for name in ("empty", "ours", "foreign", "new")] == [
        0o700,
        0o700,
        0o755,  # not made for this: nobody's files are locked away
        0o700,
    ]
