"""The helpdesk on real servers. `testing.apply` stands for the worker."""

import asyncio
from datetime import UTC, datetime
from mailbox import Maildir

import pytest
from helpdesk import domain, writes
from helpdesk.mails import TellOfComment
from sqlalchemy import text

from stoker import Forbidden, NotFound, State, Stoker, testing

ANN, BOB = 1, 2
ACME, GLOBEX = 1, 2


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    with testing.servers(tmp_path_factory.mktemp("servers"), domain) as settings:
        yield settings


@pytest.fixture
def mails(tmp_path, monkeypatch):
    """What jobs have mailed, those of the tests before included."""
    monkeypatch.setenv("MAIL_DIR", str(tmp_path / "mail"))
    return Maildir(tmp_path / "mail")


@pytest.mark.asyncio
async def test_a_comment_changes_the_ticket_and_nothing_else(settings):
    async with Stoker.opened(settings, domain) as stoker:
        ticket = await writes.open_ticket(stoker, ANN, ACME, "It is broken")
        await testing.apply(stoker)
        await stoker.read("ticket", ticket, within=ACME, reader=ANN)
        await stoker.read("board", ACME, reader=ANN)

        await writes.comment(stoker, BOB, ticket, "Since when?")
        await testing.apply(stoker)
        assert (await stoker.read("board", ACME, reader=ANN)).state is State.HIT
        page = await stoker.read("ticket", ticket, within=ACME, reader=ANN)
        assert page.value["comments"] == [{"agent": "Bob", "body": "Since when?"}]


@pytest.mark.asyncio
async def test_a_solved_ticket_leaves_the_board_and_every_inbox(settings):
    async with Stoker.opened(settings, domain) as stoker:
        ticket = await writes.open_ticket(stoker, ANN, ACME, "Solve me")
        await testing.apply(stoker)
        before = (await stoker.read("inbox", BOB, reader=BOB)).value["Acme"]
        await writes.set_status(stoker, ANN, ticket, "solved")
        await testing.apply(stoker)
        assert (await stoker.read("inbox", BOB, reader=BOB)).value["Acme"] == before - 1
        solved = await stoker.read("board", ACME, {"status": "solved"}, reader=BOB)
        assert ticket in [one["id"] for one in solved.value]


@pytest.mark.asyncio
async def test_a_change_by_any_other_program_is_seen(settings):
    async with Stoker.opened(settings, domain) as stoker:
        ticket = await writes.open_ticket(stoker, ANN, ACME, "Renamed by a script")
        await writes.comment(stoker, BOB, ticket, "Who was that?")
        await testing.apply(stoker)
        await stoker.read("ticket", ticket, within=ACME, reader=ANN)
        async with stoker.engine.begin() as connection:
            await connection.execute(text("UPDATE tickets SET title = 'Anonymous'"))
            await connection.execute(text("UPDATE agents SET name = 'Robert' WHERE id = 2"))
        await testing.apply(stoker)
        page = (await stoker.read("ticket", ticket, within=ACME, reader=ANN)).value
        assert page["title"] == "Anonymous"
        assert page["comments"] == [{"agent": "Robert", "body": "Who was that?"}]
        async with stoker.engine.begin() as connection:
            await connection.execute(text("UPDATE agents SET name = 'Bob' WHERE id = 2"))


@pytest.mark.asyncio
async def test_a_comment_is_mailed_to_the_others_if_it_commits(settings, mails):
    async with Stoker.opened(settings, domain) as stoker:
        ticket = await writes.open_ticket(stoker, ANN, ACME, "Mailed")
        with pytest.raises(Forbidden):
            await writes.comment(stoker, 99, ticket, "A stranger's")
        await testing.drain(stoker)
        assert f"[{ticket}] Mailed" not in [mail["Subject"] for mail in mails]

        await writes.comment(stoker, ANN, ticket, "Since when?")
        await testing.assert_enqueued(stoker, TellOfComment)
        await testing.drain(stoker)
        [mail] = [one for one in mails if one["Subject"] == f"[{ticket}] Mailed"]
        assert mail["To"] == "bob@helpdesk.example"
        assert mail.get_payload() == "Ann: Since when?\n"


@pytest.mark.asyncio
async def test_agents_are_reminded_of_open_tickets(settings, mails):
    [task] = [one for one in domain.schedule if one.name == "remind"]
    assert task.following(datetime(2026, 7, 3, 12, tzinfo=UTC)) == datetime(2026, 7, 6, 5, tzinfo=UTC)
    async with Stoker.opened(settings, domain) as stoker:
        await writes.open_ticket(stoker, BOB, GLOBEX, "Open")
        await testing.drain(stoker)
        await stoker.enqueue(task.job)
        await testing.drain(stoker)
    assert "bob@helpdesk.example" in [mail["To"] for mail in mails]
    assert any(mail["Subject"].endswith(" open tickets") for mail in mails)


@pytest.mark.asyncio
async def test_no_change_is_missed(settings):
    async with Stoker.opened(settings, domain) as stoker:
        for tenant, agent in ((ACME, ANN), (ACME, BOB), (GLOBEX, BOB)):
            ticket = await writes.open_ticket(stoker, agent, tenant, "Of the sample")
            await writes.comment(stoker, agent, ticket, "Of the sample, too")
        # One event stands for all changes of a row. These views do not show each of its columns.
        needless = {
            "tickets.title inbox",
            "tickets.id inbox",
            "tenant_agents.role inbox",
            "tenants.name tenant_access",
        }
        await testing.assert_covered(stoker, needless=needless)


@pytest.mark.asyncio
async def test_a_tenant_sees_nothing_of_another(settings):
    async with Stoker.opened(settings, domain) as stoker:
        ticket = await writes.open_ticket(stoker, BOB, GLOBEX, "Secret")
        await testing.apply(stoker)
        await stoker.read("ticket", ticket, within=GLOBEX, reader=BOB)
        with pytest.raises(Forbidden):
            await stoker.read("ticket", ticket, within=GLOBEX, reader=ANN)
        with pytest.raises(NotFound):  # it is not a ticket of hers
            await stoker.read("ticket", ticket, within=ACME, reader=ANN)
        with pytest.raises(Forbidden):
            await stoker.read("board", GLOBEX, reader=ANN)
        with pytest.raises(Forbidden):
            await writes.comment(stoker, ANN, ticket, "Let me in")


@pytest.mark.asyncio
async def test_who_does_not_work_for_a_tenant_any_more_reads_nothing_of_it(settings):
    async with Stoker.opened(settings, domain) as stoker:
        ticket = await writes.open_ticket(stoker, ANN, ACME, "Kept by the cache")
        await testing.apply(stoker)
        assert (await stoker.read("ticket", ticket, within=ACME, reader=BOB)).role == "agent"

        removal = asyncio.create_task(writes.remove_agent(stoker, ACME, BOB))
        while not removal.done():
            await testing.apply(stoker)
            await asyncio.sleep(0)
        await removal
        with pytest.raises(Forbidden):
            await stoker.read("ticket", ticket, within=ACME, reader=BOB)
        assert (await stoker.read("ticket", ticket, within=ACME, reader=ANN)).role == "lead"
