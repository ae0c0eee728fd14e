"""`stoker warm show`, `warm explain` and `trace`: what prediction does and why, and traces of real reads."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from typer.testing import CliRunner

from stoker import Access, BadRequest, Domain, EntryKey, InvalidParams, ScopeKind, Stoker, View
from stoker.cli.app import app
from stoker.cli.explain import _draw as _draw_why
from stoker.cli.lines import warming
from stoker.cli.opened import On
from stoker.cli.predicted import _draw_history, moved
from stoker.cli.traces import recorded
from stoker.handlers.relay import apply_all
from stoker.operations.audit import local_actor
from stoker.operations.explain import explain as explained
from stoker.operations.overview import overview
from stoker.operations.prediction import Mode, entry_of, explain, past, prediction
from stoker.prediction.contest import DEFAULT, PREDICTOR
from stoker.prediction.features import SIZES
from stoker.prediction.trace import TraceError, TraceFile, read_trace
from stoker.settings import Settings
from stoker.warming.recording import Recording
from stoker.worker.forecaster import Forecaster
from tests.integration.test_forecaster import flush, keep, learnt
from tests.support.notes import NoteChanged, Notes, write_notes
from tests.support.place import Place

NOTES = 12


class Which(BaseModel):
    state: Literal["free", "booked"] = "free"
    page: int = Field(default=1, ge=1)


async def load(_: AsyncSession, keys: Sequence[EntryKey]) -> dict[EntryKey, object]:
    return dict.fromkeys(keys, "")


SHOP = ScopeKind("shop")
rental = Domain(
    name="rental",
    scopes=(SHOP,),
    views=(View("list", SHOP, load, params=Which, access=Access.ANYONE),),
)


@pytest.fixture
def settings(place: Place) -> Settings:
    return place.settings(cache={"stats_flush_s": 3600})


@pytest.fixture
async def stoker(settings: Settings) -> AsyncIterator[Stoker]:
    async with Stoker.opened(settings, Notes().domain) as opened:
        async with opened.session() as session, session.begin():
            await write_notes(session, NOTES)
        yield opened


async def test_before_anybody_has_predicted_the_default_plan_is_in_force(stoker: Stoker) -> None:
    found = await prediction(stoker)
    assert (found.in_force, found.figures) == (DEFAULT, None)
    assert warming(found) == "warming: default plan (prediction silent: no worker has predicted yet)"
    explained = await explain(stoker, "note:1/detail")
    assert explained.decision.startswith("the default plan decides")
    assert explained.last_read is None


async def test_what_a_worker_of_another_release_predicts_is_not_known(stoker: Stoker) -> None:
    await Forecaster(stoker, "one").once()
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text("UPDATE stoker.warm_predictor SET figures = jsonb_build_object('of', 'tomorrow')")
        )
    found = await prediction(stoker)
    assert (found.mode, found.predicted_by, found.figures) == (Mode.UNKNOWN, "one", None)
    assert found.why.startswith("one is of another release, whose figures this one cannot read")
    assert "no worker" not in warming(found)
    assert (await explain(stoker, "note:1/detail")).decision == f"not known: {found.why}"
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text("UPDATE stoker.warm_predictor SET planned_at = planned_at - interval '1 hour'")
        )
    found = await prediction(stoker)
    assert found.mode is Mode.SILENT
    assert found.why.startswith("no worker has predicted since 20")


async def test_what_prediction_does_is_shown_and_one_entry_is_explained(stoker: Stoker) -> None:
    live = await learnt(stoker)
    await keep(stoker, live)
    await Forecaster(stoker, "one").once()
    found = await prediction(stoker)
    assert (found.mode, found.in_force) == (Mode.LIVE, PREDICTOR)
    assert found.predicted_by == "one"
    assert found.figures is not None
    assert f"of {found.figures.warmed} warmed entries used" in warming(found)
    assert (await overview(stoker, 5)).prediction == found
    read, unread = await explain(stoker, "note:1/detail"), await explain(stoker, "note:9/detail")
    assert read.probability > unread.probability
    assert read.is_cached
    assert read.decision == "nothing to do: it is in the cache"
    assert unread.decision.startswith("not warmed: 0.")
    assert (await explain(stoker, "note:1/summary")).decision.startswith("not warmed: no warm plan")
    weights = [one.weight for one in read.features]
    assert weights == sorted(weights, key=lambda one: -abs(one))
    assert {one.feature for one in read.features} >= {"hour of the day", "time since the last read", "view"}
    assert all(0 <= one.bin < one.bins for one in read.features)


async def test_each_hour_of_prediction_is_kept_and_listed(
    stoker: Stoker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (await past(stoker, 24)).hours == []
    _draw_history(await past(stoker, 24))
    assert "no hour was kept yet" in capsys.readouterr().out
    await keep(stoker, await learnt(stoker))
    forecaster = Forecaster(stoker, "one")
    await forecaster.once()
    await forecaster._leave()
    [kept] = (await past(stoker, 24)).hours
    assert kept.weights.keys() == SIZES.keys()
    await keep_once_more(stoker)
    found = await past(stoker, 24, "always")
    assert [one.weights.keys() for one in found.hours] == [{"always"}] * 2
    assert [one.at for one in found.hours] == sorted(one.at for one in found.hours)
    assert moved(*found.hours) == pytest.approx(0.5)
    _draw_history(found)
    shown = capsys.readouterr().out.splitlines()[-1].split("\t")
    assert shown[1] == PREDICTOR
    assert float(shown[4]) == pytest.approx(0.5)
    assert float(shown[5]) == pytest.approx(found.hours[1].weights["always"][0], abs=0.01)
    assert (await past(stoker, 1, "always")).hours == found.hours[1:]
    with pytest.raises(BadRequest, match="no feature 'hour'; there are: always, "):
        await past(stoker, 24, "hour")


async def keep_once_more(stoker: Stoker) -> None:
    """Keep the same once more, with a weight that has moved by a half."""
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO stoker.warm_history SELECT at + interval '1 hour', in_force, figures, jsonb_set("
                "weights, '{always,0}', to_jsonb((weights #>> '{always,0}')::float + 0.5))"
                " FROM stoker.warm_history"
            )
        )


async def test_an_explained_entry_says_whether_prediction_warms_it(
    stoker: Stoker, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await explained(stoker, "detail", "9", predicted=True)
    assert found.prediction is not None
    assert found.prediction.startswith("the default plan decides")
    await keep(stoker, await learnt(stoker))
    await Forecaster(stoker, "one").once()
    found = await explained(stoker, "detail", "9", predicted=True)
    assert found.prediction is not None
    assert re.fullmatch(r"not warmed: 0\.\d+ is below 0\.\d+", found.prediction)
    _draw_why(found)
    assert f"prediction\t{found.prediction}" in capsys.readouterr().out


@pytest.mark.parametrize("entry", ["detail", "note/detail", "note:1/mine", "note:1/nothing", "x:1/detail"])
async def test_what_is_no_entry_is_refused(stoker: Stoker, entry: str) -> None:
    with pytest.raises(BadRequest):
        entry_of(stoker.domain, entry)


def test_an_entry_is_named_with_some_of_its_parameters_or_none() -> None:
    assert entry_of(rental, "shop:1/list").params == '{"state":"free","page":1}'
    assert entry_of(rental, 'shop:1/list?{"page": 2}').params == '{"state":"free","page":2}'
    with pytest.raises(InvalidParams, match=r"parameters are an object of JSON after a `\?`, .*, not page=2"):
        entry_of(rental, "shop:1/list?page=2")
    with pytest.raises(InvalidParams, match="view list: page: "):
        entry_of(rental, 'shop:1/list?{"page": 0}')


async def test_a_recording_has_reads_and_changes_and_no_names(stoker: Stoker, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    with TraceFile(path) as file:
        recording = Recording(stoker, file)
        await stoker.read("detail", 3, reader=7)
        await flush(stoker)
        await asyncio.sleep(0)
        await recording.poll()  # begins here: what was read before is not recorded
        before = file.reads
        await stoker.read("detail", 1, reader=7)
        await stoker.read("summary", 2, reader=7)
        async with stoker.session() as session, session.begin():
            await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
            stoker.record(session, NoteChanged(note_id=1))
        await apply_all(stoker)
        await flush(stoker)
        await recording.poll()
        await recording.poll()
        assert file.reads - before == 2
    trace = read_trace(path)
    names = trace.entry_names[-2:]
    assert {name.rpartition("/")[2] for name in names} == {"detail", "summary"}
    assert all(name.startswith("note:") for name in names)
    assert len(trace.reader_names) == 1
    changed = {name.partition("/")[0] for _, name in trace.changes}
    assert changed & {name.partition("/")[0] for name in names}, "the same digest"
    stored = "".join([*trace.entry_names, *trace.reader_names])
    assert "note:1/" not in stored
    assert trace.reader_names[0] != "7"


async def test_a_sample_has_all_reads_of_some_readers(stoker: Stoker, tmp_path: Path) -> None:
    with TraceFile(tmp_path / "trace.csv") as file:
        recording = Recording(stoker, file, share=0.5, key=b"0123456789abcdef")
        await recording.poll()
        async with stoker.session() as session, session.begin():
            await session.execute(
                text(
                    "INSERT INTO note_members"
                    " SELECT n, r FROM generate_series(1, 2) AS n, generate_series(100, 139) AS r"
                )
            )
        for reader in range(100, 140):
            for number in (1, 2):
                await stoker.read("detail", number, reader=reader)
                await flush(stoker)
        await recording.poll()
    readers = [row.split(",")[1] for row in (tmp_path / "trace.csv").read_text().splitlines()[1:]]
    assert 10 <= len(set(readers)) <= 30
    assert all(readers.count(one) == 2 for one in readers)


async def test_recording_ends_at_its_size_at_its_time_and_by_a_signal(
    stoker: Stoker, settings: Settings, tmp_path: Path
) -> None:
    on = On(stoker, settings, local_actor())
    found = await recorded(on, tmp_path / "time.csv", minutes=0)
    assert (found.ended_by, found.reads) == ("its time", 0)
    found = await recorded(on, tmp_path / "size.csv", most_mb=0.00001)
    assert found.ended_by == "its size"
    recording = asyncio.create_task(recorded(on, tmp_path / "signal.csv.gz"))
    await asyncio.sleep(0)  # it has begun, and waits for the cache
    await stoker.read("detail", 1, reader=7)
    await flush(stoker)
    os.kill(os.getpid(), signal.SIGINT)
    found = await recording
    assert found.ended_by == "a signal"
    assert (tmp_path / "signal.csv.gz").read_bytes()[:2] == b"\x1f\x8b"
    with pytest.raises(TraceError, match="File exists"):
        await recorded(on, tmp_path / "time.csv")


def test_a_trace_is_made_up_shown_and_evaluated(tmp_path: Path) -> None:
    path = str(tmp_path / "office.csv.gz")
    run = CliRunner()
    made = run.invoke(
        app, ["trace", "generate", path, "--people", "10", "--topics", "10", "--days", "10", "--seed", "3"]
    )
    assert made.exit_code == 0, made.output
    again = run.invoke(app, ["trace", "generate", path])
    assert isinstance(again.exception, TraceError)
    shown = json.loads(run.invoke(app, ["trace", "show", path, "--json"]).stdout)
    assert shown["readers"] <= 10
    assert shown["changes"] > 0
    assert sum(shown["by_view"].values()) == sum(shown["by_hour"].values()) == shown["reads"]
    assert "by hour" in run.invoke(app, ["trace", "show", path]).stdout
    evaluate = ["warm", "evaluate", path, "--budget", "0.1"]
    evaluated = json.loads(run.invoke(app, [*evaluate, "--json"]).stdout)
    assert evaluated["changes"] == shown["changes"]
    _, _, parts = run.invoke(app, evaluate).stdout.partition("by view and by hour")
    [ours] = [one for one in evaluated["budgets"][0]["scores"] if one["method"] == "predicted"]
    rows = dict(line.split("\t", 1) for line in parts.splitlines()[2:])
    assert rows.keys() == {*ours["by_view"], *(f"{int(hour):02}:00" for hour in ours["by_hour"])}
    assert all(rows[view].split("\t")[2] == f"{share:.3f}" for view, share in ours["by_view"].items())
