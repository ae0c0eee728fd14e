"""The coverage of a domain, asserted: each column that is read is recorded, and no change is missed."""

from __future__ import annotations

from collections.abc import Collection

from stoker.coverage.cover import cover
from stoker.coverage.made import Fields
from stoker.coverage.mutate import mutate as tried
from stoker.coverage.proof import Proof
from stoker.settings import require
from stoker.stoker import Stoker
from stoker.testing.found import listed


async def assert_covered(
    stoker: Stoker,
    *,
    mutate: bool = True,
    needless: Collection[str] | None = None,
    fields: Fields | None = None,
) -> None:
    """Assert that whatever the views read is recorded when it changes, and invalidates what it changes.

    As `stoker cover --mutate` does, on the committed data of the test's database: write some first.
    `mutate=False` believes the declarations. `needless`: what may be invalidated without need, each as
    "table.column view"; anything else fails; None allows all. `fields`: for a class of events or its base, an
    async function of (session, row) that gives the fields which no column of the row gives, as a writer finds
    them; `row` has texts, as Postgres writes values. AssertionError says what is wrong.
    """
    __tracebackhide__ = True
    url = require(stoker.settings.database_url, "DATABASE_URL")
    schema = stoker.settings.database.schema_name
    if mutate:
        proof = await tried(url, stoker.domain, schema=schema, fields=fields or {})
        views, wrong = proof.views, [*_missed(proof), *_needless(proof, needless)]
    else:
        views, wrong = await cover(url, stoker.domain, schema=schema), []
    for view in views:
        wrong += [f"{view.view}: unseen: {unseen}" for unseen in view.unseen]
        if view.uncovered:
            columns = listed(f"{one.table}.{one.column or '(rows)'}" for one in view.uncovered)
            wrong.append(f"{view.view} reads what nothing records: {columns}")
    if wrong:
        raise AssertionError("; ".join(wrong))


def _missed(proof: Proof) -> list[str]:
    failed = [f"a change of {one} made a rule fail: {one.failed}" for one in proof.tried if one.failed]
    failed += [f"no change changed an entry of the view {name}" for name in proof.untouched]
    failed += [
        f"a change of {one} is believed to be covered: give the `fields` of {listed(one.believed)}"
        for one in proof.tried
        if one.believed
    ]
    return failed + [
        f"a change of {change} changed {missed.entry}, "
        + (
            f"which {listed(missed.events)} did not invalidate"
            if missed.events
            else "and nothing recorded it"
        )
        for change, missed in proof.missed
    ]


def _needless(proof: Proof, allowed: Collection[str] | None) -> list[str]:
    found = [f"{change} {view.view}" for change, view in proof.needless]
    left = [one for one in found if allowed is not None and one not in allowed]
    return [f"invalidated and never changed: {listed(left)}"] if left else []
