"""The cases: who does what, in few words. What may come in which order is the explorer's to find out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from stoker import EntryKey
from stoker.cache.term import SURE_S
from stoker.redis.primary import SURE_S as SURE_S_OF_A_PRIMARY
from tests.explore.domain import Changed, FolderChanged, MembersChanged, Redacted, folder, note, reader
from tests.explore.ground import TERM_MS, Case
from tests.explore.play import Play
from tests.explore.terms import SLOW

PAGE, PAGE_2 = EntryKey("page", note(1)), EntryKey("page", note(2))
DETAIL, ACCESS, MINE = EntryKey("detail", note(1)), EntryKey("access", note(1)), EntryKey("mine", reader(1))
SHEET, READERS = EntryKey("sheet", note(1)), EntryKey("readers", folder(1))
US = 1_000_000


def change(
    play: Play, number: int = 2, *, hard: bool = False, relay: bool = True, mortal: bool = False
) -> None:
    """Note 1 is changed to version `number`; a relay of its own follows."""
    event = Redacted(note=1) if hard else Changed(note=1)
    play.writes(
        f"writer-{number}",
        lambda state: state.write(1, f"a{number}"),
        event,
        "notes:1",
        relay=f"relay-{number}" if relay else None,
        mortal=mortal,
    )


async def warmed(play: Play) -> None:
    """Everybody has read the page: it is in the cache and near every process."""
    for process in play.processes:
        await play.read("setup", process, "page")
        await play.read("setup", process, "page")


async def both_warmed(play: Play) -> None:
    """Everybody has read two pages."""
    await warmed(play)
    for process in play.processes:
        await play.read("setup", process, "page", of=2)


async def abandoned(play: Play) -> None:
    """The page is warm everywhere, and a process died while it built it again."""
    await warmed(play)
    store = play.processes["worker"].store
    await store.begin([store.keys.entry(PAGE)])


async def detail_warmed(play: Play) -> None:
    """Both members have read the detail."""
    for process in play.processes:
        for member in (1, 2):
            await play.read("setup", process, "detail", reader=member)


async def sheet_warmed(play: Play) -> None:
    """Both readers of folder 1 have read the sheet in it; who may read folder 2 is known, too."""
    for process in play.processes:
        for reader_id in (1, 2):
            await play.read("setup", process, "sheet", reader=reader_id, within=1)
        await play.read("setup", process, "readers", of=2)


async def aged(play: Play) -> None:
    """The page is warm, and past the share of its life after which it is built again."""
    await warmed(play)
    play.server.age(3_000 * US)


async def expired(play: Play) -> None:
    """The page is past its life, and kept only for when its loader fails."""
    await warmed(play)
    play.server.age(3_700 * US)


def two_readers(play: Play) -> None:
    play.reads("reader-1", "web-1", "page")
    play.reads("reader-2", "web-2", "page")
    change(play)


def read_again(play: Play) -> None:
    play.reads("reader", "web-1", "page", times=2)
    change(play)


def two_in_one_process(play: Play) -> None:
    play.reads("reader-1", "web-1", "page")
    play.reads("reader-2", "web-1", "page")
    change(play)


def refresh_and_two_writers(play: Play) -> None:
    play.reads("reader", "web-1", "page")
    change(play, 2)
    change(play, 3)


def two_writers(play: Play) -> None:
    play.reads("reader", "web-1", "page")
    change(play, 2)
    change(play, 3)


def soft_then_hard(play: Play) -> None:
    play.reads("reader-1", "broken", "page")
    play.reads("reader-2", "broken-too", "page")
    play.writes("writer-2", lambda state: state.write(1, "a2"), Changed(note=1), "notes:1", relay="relay-2")
    change(play, 3, hard=True)


def hard_then_rebuilt(play: Play) -> None:
    play.reads("reader-1", "broken", "page")
    play.reads("reader-2", "web-1", "page")
    change(play, 2, hard=True)


def evictions(*names: str) -> Callable[[Play], None]:
    def play_case(play: Play) -> None:
        keys = play.processes["worker"].store.keys.entry(PAGE)._asdict()
        play.reads("reader", "web-1", "page")
        play.reads("reader-2", "web-2", "page")
        change(play)
        for name in names:
            key: str = keys[name]
            command = ("UNLINK", key.encode())
            play.happens(
                f"evicts-{name}",
                (f"EVICT {name}", {key: "d", "server": "r"}, partial(play.server.do, command)),
            )

    return play_case


def evicted_under_a_build(play: Play) -> None:
    hard = play.processes["worker"].store.keys.entry(PAGE).hard
    evict = partial(play.server.do, ("UNLINK", hard.encode()))
    play.reads("reader", "web-1", "page")
    play.happens("evicts", ("EVICT hard", {hard: "d", "server": "r"}, evict))


def restarts(*, with_old_data: bool) -> Callable[[Play], None]:
    def play_case(play: Play) -> None:
        back = play.ground.values if with_old_data else {}
        play.reads("reader", "web-1", "page", times=2)
        change(play)
        play.happens("server", ("RESTART", {"server": "w"}, lambda: play.server.restart(back)))

    return play_case


def warming(play: Play) -> None:
    play.fills("warm", "worker", PAGE, PAGE_2)
    play.reads("reader", "web-1", "page")
    change(play)


def warming_a_list(play: Play) -> None:
    play.fills("warm", "worker", PAGE, MINE)
    play.writes(
        "writer",
        lambda state: state.write(1, "a2"),
        Changed(note=1, readers=(1, 2)),
        "notes:1",
        relay="relay",
    )
    play.reads("reader", "web-1", "mine")


def removal(play: Play) -> None:
    play.reads("removed", "web-1", "detail", reader=2)
    play.writes(
        "remover",
        lambda state: state.let(1, 1),
        MembersChanged(note=1, reader=2),
        "members:1",
        relay="relay-remove",
    )


def removal_then_secret(play: Play, *, bypass: bool = False) -> None:
    async def work() -> None:
        await play.rows.commit(lambda state: state.let(1, 1), MembersChanged(note=1, reader=2), "members:1")
        await play.apply()
        await play.rows.commit(lambda state: state.write(1, "secret"), Changed(note=1), "notes:1")
        await play.apply()

    play.reads("removed", "web-1", "detail", reader=2, bypass=bypass)
    play.act("remover", "relay", work())


def let_in_after_secret(play: Play) -> None:
    async def work() -> None:
        await play.rows.commit(lambda state: state.write(1, "a2"), Changed(note=1), "notes:1")
        await play.apply()
        await play.rows.commit(
            lambda state: state.let(1, 1, 2, 3), MembersChanged(note=1, reader=3), "members:1"
        )
        await play.apply()

    play.reads("let-in", "web-1", "detail", reader=3)
    play.act("writer", "relay", work())


def removal_then_secret_bypassed(play: Play) -> None:
    removal_then_secret(play, bypass=True)


async def detail_outdated(play: Play) -> None:
    """Everybody keeps an outdated detail near, and who may see it is as it was."""
    await detail_warmed(play)
    await play.rows.commit(lambda state: state.write(1, "a2"), Changed(note=1), "notes:1")
    await play.apply()


def removal_between_reads(play: Play) -> None:
    async def work() -> None:
        await play.rows.commit(lambda state: state.let(1, 1), MembersChanged(note=1, reader=2), "members:1")
        await play.apply()
        await play.rows.commit(lambda state: state.write(1, "secret"), Redacted(note=1), "notes:1")
        await play.apply()
        await play.processes["web-2"].cache.filler.fill_many([DETAIL])

    play.reads("removed", "web-1", "detail", reader=2)
    play.act("writer", "web-2", work())


def late_audience(play: Play) -> None:
    play.writes(
        "writer",
        lambda state: state.write(1, "a2"),
        lambda state: Changed(note=1, readers=tuple(sorted(state.members[1]))),
        "notes:1",
        relay="relay-write",
    )
    play.writes(
        "joiner",
        lambda state: state.let(1, 1, 2, 3),
        MembersChanged(note=1, reader=3),
        "members:1",
        relay="relay-join",
    )
    play.reads("joined", "web-1", "mine", of=3)


def killed_relay(play: Play) -> None:
    change(play, mortal=True)
    play.kills("relay-2")
    play.reads("reader", "web-1", "page")


def lost_reply(process: str) -> Callable[[Play], None]:
    def play_case(play: Play) -> None:
        play.reads("reader-1", "web-1", "page")
        play.reads("reader-2", "web-2", "page")
        change(play)
        play.happens(
            "network",
            (
                f"LOSE a reply to {process}",
                {f"connection:{process}": "w"},
                lambda: play.server.losing.add(process),
            ),
        )

    return play_case


def outage(play: Play) -> None:
    play.reads("reader", "web-1", "page", times=2)
    change(play)
    play.checks("breaker", "web-1")
    play.happens(
        "server",
        ("OUTAGE begins", {"server": "w"}, lambda: setattr(play.server, "down", True)),
        ("OUTAGE ends", {"server": "w"}, lambda: setattr(play.server, "down", False)),
    )


def full(play: Play) -> None:
    two_in_one_process(play)
    play.server.full = True


def fills_up(play: Play) -> None:
    two_in_one_process(play)
    play.happens("server", ("MEMORY full", {"room": "w"}, lambda: setattr(play.server, "full", True)))


def swept(play: Play) -> None:
    play.reads("reader", "web-1", "page")
    change(play, relay=False)
    play.relays("sweeper")


def deleted(play: Play) -> None:
    play.reads("reader-1", "web-1", "page")
    play.refreshes("refresh", PAGE)
    play.writes("writer", lambda state: state.delete(1), Redacted(note=1), "notes:1", relay="relay")


def created(play: Play) -> None:
    async def work() -> None:
        await play.rows.commit(lambda state: state.delete(1), Redacted(note=1), "notes:1")
        await play.apply()
        await play.rows.commit(lambda state: state.write(1, "a2"), Changed(note=1), "notes:1")
        await play.apply()

    play.reads("reader-1", "web-1", "page")
    play.reads("reader-2", "web-2", "page")
    play.act("writer", "relay", work())


def many(play: Play) -> None:
    play.reads_many("reader", "web-1", [("page", 1), ("mine", 1)])
    play.writes(
        "writer",
        lambda state: state.write(1, "a2"),
        Changed(note=1, readers=(1, 2)),
        "notes:1",
        relay="relay",
    )


def many_guarded(play: Play) -> None:
    play.reads_many("removed", "web-1", [("detail", 1)], reader=2)
    play.writes(
        "remover",
        lambda state: state.let(1, 1),
        MembersChanged(note=1, reader=2),
        "members:1",
        relay="relay-remove",
    )


def moved(play: Play) -> None:
    play.reads("reader-1", "web-1", "sheet", within=1)
    play.reads("reader-2", "web-2", "sheet", within=2)
    play.writes("mover", lambda state: state.move(1, 2), Changed(note=1), "notes:1", relay="relay")


def folder_removed(play: Play) -> None:
    play.reads("reader", "web-1", "sheet", within=1)
    play.writes("remover", lambda state: state.remove(1), FolderChanged(folder=1), "folders:1", relay="relay")


def right_to_folder_removed(play: Play) -> None:
    play.reads("removed", "web-1", "sheet", reader=2, within=1)
    play.reads("reader", "web-1", "sheet", reader=1, within=1)
    play.writes(
        "remover", lambda state: state.open_to(1, 1), FolderChanged(folder=1), "folders:1", relay="relay"
    )


def right_to_folder_removed_then_secret(play: Play) -> None:
    async def work() -> None:
        await play.rows.commit(lambda state: state.open_to(1, 1), FolderChanged(folder=1), "folders:1")
        await play.apply()
        await play.rows.commit(lambda state: state.write(1, "secret"), Changed(note=1), "notes:1")
        await play.apply()

    play.reads("removed", "web-1", "sheet", reader=2, within=1)
    play.act("remover", "relay", work())


TERM_S = TERM_MS / 1000


def term(play: Play) -> None:
    read_again(play)
    play.passes(TERM_S / 2, TERM_S / 2)


def term_renewed(play: Play) -> None:
    """The page's term is over or nearly so; a question about another page renews it."""

    async def work() -> None:
        for of in (1, 1):
            await play.read("reader", "web-1", "page", of=of)
        await play.time.passes(TERM_S)
        for of in (2, 1):
            await play.read("reader", "web-1", "page", of=of)

    play.act("reader", "web-1", work())
    change(play)
    play.passes(TERM_S)


def term_by_a_set_clock(play: Play) -> None:
    read_again(play)
    play.sets_back(TERM_S)


def term_and_removal(play: Play) -> None:
    removal(play)
    play.reads("removed-too", "web-2", "detail", reader=2, times=2)


def term_and_moved(play: Play) -> None:
    moved(play)
    play.reads("reader-3", "web-1", "sheet", within=1, times=2)


def term_and_right_to_folder_removed(play: Play) -> None:
    right_to_folder_removed(play)
    play.reads("removed-too", "web-2", "sheet", reader=2, within=1, times=2)


def term_learned(play: Play) -> None:
    play.learns("learner", "web-1")
    play.reads("reader", "web-1", "page", times=3)
    change(play)


def term_raised(play: Play) -> None:
    play.sets_term("raiser", TERM_MS)
    term_learned(play)


def term_lowered(play: Play) -> None:
    play.sets_term("lowerer", 0)
    play.reads("reader", "web-1", "page", times=2)
    change(play)
    play.passes(TERM_S / 2)


def term_lowered_long_ago(play: Play) -> None:
    play.sets_term("lowerer", 0, 0, SURE_S + TERM_S)
    play.reads("reader", "web-1", "page", times=2)
    change(play)


def term_and_killed_relay(play: Play) -> None:
    killed_relay(play)
    play.reads("reader-2", "web-2", "page")


def term_unlinked_inline(play: Play) -> None:
    play.unlinks("writer", lambda state: state.write(1, "a2"), Changed(note=1), "notes:1")
    play.reads("reader", "web-1", "page", times=2)
    play.passes(TERM_S / 2)


def term_and_restart(play: Play) -> None:
    restarts(with_old_data=True)(play)
    play.passes(TERM_S / 2)


def term_and_old_primary(play: Play) -> None:
    read_again(play)
    play.happens("server", ("FAILOVER", {"server": "w"}, lambda: play.server.fail_over("web-1", TERM_S)))
    play.passes(SURE_S_OF_A_PRIMARY / SLOW, TERM_S)


SHARED = frozenset({"web-1"})
GUARDED = (DETAIL, ACCESS)
SHEETS = (SHEET, READERS, EntryKey("readers", folder(2)))
LISTS = (MINE, PAGE, EntryKey("mine", reader(2)), EntryKey("mine", reader(3)))
BROKEN = ("web-1", "broken", "broken-too", "worker")

CASES = (
    Case("two readers, a writer", two_readers, at_most=600),
    Case("two readers of a warm page, a writer", two_readers, setup=warmed),
    Case("a reader who reads again, a writer", read_again, setup=warmed),
    Case("a cold reader who reads again, a writer", read_again),
    Case("two readers in one process, a writer", two_in_one_process, shared=SHARED),
    Case("two readers in one process, late replies", two_in_one_process, shared=SHARED, late=SHARED),
    Case(
        "two readers in one warm process, late replies",
        two_in_one_process,
        setup=warmed,
        shared=SHARED,
        late=SHARED,
    ),
    Case("two readers after a build was abandoned", two_readers, setup=abandoned),
    Case("a reader, two writers", two_writers),
    Case(
        "a reader of an ageing page, its refresh, two writers",
        refresh_and_two_writers,
        setup=aged,
        at_most=600,
    ),
    Case("a reader of an expired page, two writers", two_writers, setup=expired),
    Case(
        "soft then hard, loaders fail",
        soft_then_hard,
        setup=warmed,
        processes=BROKEN,
        failing=frozenset({"broken", "broken-too"}),
        at_most=1000,
    ),
    Case(
        "hard, one loader fails",
        hard_then_rebuilt,
        setup=warmed,
        processes=BROKEN,
        failing=frozenset({"broken"}),
    ),
    Case("a stamp is evicted", evictions("stamp"), setup=warmed, at_most=1200),
    Case("a hard stamp is evicted", evictions("hard"), setup=warmed, at_most=1200),
    Case("a hard stamp is evicted under a build", evicted_under_a_build),
    Case("an entry is evicted", evictions("entry")),
    Case("a lease ends early", evictions("lease"), at_most=1000),
    Case("the server restarts empty", restarts(with_old_data=False), setup=warmed, restarts=True),
    Case("the server comes back old", restarts(with_old_data=True), setup=warmed, restarts=True),
    Case("a warm job, a reader, a writer", warming, rest=(PAGE, PAGE_2)),
    Case("a warm job of a list, a writer", warming_a_list, rest=LISTS, at_most=600),
    Case("a removal", removal, setup=detail_warmed, guarded=True, rest=GUARDED),
    Case("a removal, cold", removal, guarded=True, rest=GUARDED),
    Case("a removal, then a secret", removal_then_secret, guarded=True, rest=GUARDED),
    Case("a secret is replaced, then a reader let in", let_in_after_secret, guarded=True, rest=GUARDED),
    Case(
        "a secret is replaced, then a reader let in, warm",
        let_in_after_secret,
        setup=detail_warmed,
        guarded=True,
        rest=GUARDED,
    ),
    Case(
        "a removal, then a secret that is read",
        removal_between_reads,
        setup=detail_outdated,
        guarded=True,
        rest=GUARDED,
        at_most=800,
    ),
    Case(
        "a removal, then a secret, past the cache", removal_then_secret_bypassed, guarded=True, rest=GUARDED
    ),
    Case("an audience grows", late_audience, rest=LISTS, at_most=600),
    Case("a relay is killed", killed_relay, setup=warmed),
    Case("the stamps' reply is lost", two_readers, losing=("web-1", "begin"), at_most=1000),
    Case("the store's reply is lost", two_readers, losing=("web-1", "store"), at_most=1000),
    Case("a reply to a reader is lost", lost_reply("web-1"), lossy=frozenset({"web-1"})),
    Case(
        "a reply to the relay is lost",
        lost_reply("worker"),
        setup=warmed,
        lossy=frozenset({"worker"}),
        at_most=1000,
    ),
    Case("the server is away", outage, setup=warmed, shared=SHARED),
    Case("the server's memory is full", full, shared=SHARED),
    Case("the server's memory fills up", fills_up, shared=SHARED),
    Case("a sweeper at any time", swept),
    Case("a note is deleted", deleted, setup=warmed),
    Case("a note comes back", created, at_most=1000),
    Case("many at once, a writer", many, rest=LISTS),
    Case("many at once, a removal", many_guarded, guarded=True, rest=GUARDED),
    Case("a note is moved", moved, setup=sheet_warmed, guarded=True, rest=SHEETS),
    Case("a note is moved, cold", moved, guarded=True, rest=SHEETS),
    Case("a folder is removed", folder_removed, setup=sheet_warmed, guarded=True, rest=SHEETS),
    Case("a folder is removed, cold", folder_removed, guarded=True, rest=SHEETS),
    Case(
        "a right to a folder is removed",
        right_to_folder_removed,
        setup=sheet_warmed,
        guarded=True,
        rest=SHEETS,
    ),
    Case(
        "a right to a folder is removed, then a secret",
        right_to_folder_removed_then_secret,
        guarded=True,
        rest=SHEETS,
    ),
    Case("a term, a writer", term, setup=warmed, term_ms=TERM_MS),
    Case(
        "a term, late replies",
        two_in_one_process,
        setup=warmed,
        shared=SHARED,
        late=SHARED,
        term_ms=TERM_MS,
    ),
    Case("a term that another question renews", term_renewed, setup=both_warmed, term_ms=TERM_MS),
    Case("a term, a clock that is set back", term_by_a_set_clock, setup=warmed, term_ms=TERM_MS),
    Case(
        "a term, a removal",
        term_and_removal,
        setup=detail_warmed,
        guarded=True,
        rest=GUARDED,
        term_ms=TERM_MS,
    ),
    Case(
        "a term, a note is moved",
        term_and_moved,
        setup=sheet_warmed,
        guarded=True,
        rest=SHEETS,
        term_ms=TERM_MS,
    ),
    Case(
        "a term, a right to a folder is removed",
        term_and_right_to_folder_removed,
        setup=sheet_warmed,
        guarded=True,
        rest=SHEETS,
        term_ms=TERM_MS,
    ),
    Case("a term that is shorter than a reader's own", term_learned, setup=warmed, term_ms=TERM_MS // 10),
    Case("a term is raised", term_raised, setup=warmed, term_ms=0),
    Case("a term is lowered", term_lowered, setup=warmed, term_ms=TERM_MS),
    Case(
        "a term was lowered, and a reader has not heard", term_lowered_long_ago, setup=warmed, term_ms=TERM_MS
    ),
    Case("a term, a relay is killed", term_and_killed_relay, setup=warmed, term_ms=TERM_MS),
    Case("a term, a change put into effect inline", term_unlinked_inline, setup=warmed, term_ms=TERM_MS),
    Case("a term, the server comes back old", term_and_restart, setup=warmed, restarts=True, term_ms=TERM_MS),
    Case(
        "a term, the old primary still answers",
        term_and_old_primary,
        setup=warmed,
        restarts=True,
        term_ms=TERM_MS,
    ),
)
BY_NAME = {case.name: case for case in CASES}
