from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from jobs import domain
from jobs.inputs import (
    ClassificationChanges,
    NewClassification,
    NewDocument,
    NewPredicate,
    NewProject,
    NewUser,
    PredicateChanges,
    ProjectChanges,
)
from jobs.queries.dashboard import progress
from jobs.queries.export import as_csv
from jobs.queries.statement import like
from stoker import InvalidParams


@pytest.mark.parametrize(
    ("view", "params", "field"),
    [
        ("list", {"limit": 0}, "limit"),
        ("list", {"limit": 101}, "limit"),
        ("list", {"offset": -1}, "offset"),
        ("list", {"offset": 10_001}, "offset"),
        ("list", {"status": "lost"}, "status"),
        ("list", {"q": "x" * 201}, "q"),
        ("list", {"q": "a\x00b"}, "q"),
        ("list", {"q": "a\nb"}, "q"),
        ("list", {"device_type": "\x7f"}, "device_type"),
        ("list", {"page": 2}, "page"),
        ("search", {}, "query"),
        ("search", {"query": "  "}, "query"),
        ("search", {"query": "x" * 201}, "query"),
        ("search", {"query": "\ud800"}, "query"),
        ("search", {"query": "x", "limit": 51}, "limit"),
        ("export", {"format": "xml"}, "format"),
        ("detail", {"format": "json"}, "params"),
    ],
)
def test_parameters_out_of_bounds_are_refused_with_their_name(
    view: str, params: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidParams) as refused:
        domain.key(view, 1, params)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("view", "one", "other"),
    [
        ("list", {}, {"limit": 20, "offset": 0, "status": None, "q": ""}),
        ("list", {"q": " alpha "}, {"q": "alpha"}),
        ("list", {"limit": "50"}, {"limit": 50}),
        ("export", {}, {"format": "json"}),
        ("search", {"query": "a", "limit": 20}, {"query": "a"}),
    ],
)
def test_requests_that_ask_for_the_same_share_an_entry(
    view: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert domain.key(view, 1, one) == domain.key(view, 1, other)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (NewProject, {"name": " ", "device_type": "x"}),
        (NewProject, {"name": "x" * 201, "device_type": "x"}),
        (NewProject, {"name": "x", "device_type": "x", "intended_use": "a\x00b"}),
        (NewProject, {"name": "x\ud800", "device_type": "x"}),
        (NewProject, {"name": "x", "device_type": "x", "intended_use": "x" * 4001}),
        (NewProject, {"name": "x", "device_type": "x", "owner_id": 7}),
        (ProjectChanges, {}),
        (ProjectChanges, {"name": None}),
        (ClassificationChanges, {"confidence": 1.01}),
        (PredicateChanges, {"k_number": "K041234"}),
        (
            NewClassification,
            {
                "device_class": "IV",
                "product_code": "DQA",
                "regulation_number": "870.2700",
                "confidence": 1,
            },
        ),
        (NewPredicate, {"k_number": "K12345", "device_name": "x", "similarity": 0.5}),
        (NewPredicate, {"k_number": "K123456\n", "device_name": "x", "similarity": 0.5}),
        (NewPredicate, {"k_number": "K123456", "device_name": "x", "similarity": float("nan")}),
        (NewDocument, {"title": "x", "kind": "Has Space", "size_bytes": 1}),
        (NewDocument, {"title": "x", "kind": "x", "size_bytes": -1}),
        (NewUser, {"name": "x", "email": "nobody"}),
    ],
)
def test_input_that_sql_could_not_hold_is_refused_before_it(
    model: type[BaseModel], values: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(values)


def test_wildcards_in_a_search_mean_themselves() -> None:
    assert like("50%_\\") == "%50\\%\\_\\\\%"
    assert like(None) is None


def test_progress_counts_the_steps_that_are_done() -> None:
    dashboard = {
        "status": "draft",
        "intended_use": "Measures saturation",
        "classification": {"id": 1},
        "statistics": {"predicates": 2, "predicates_selected": 1, "documents": 0},
    }
    assert progress(dashboard)["percent"] == 60
    assert progress({**dashboard, "status": "completed"})["percent"] == 100


def test_a_csv_cell_is_never_a_formula() -> None:
    export: dict[str, Any] = {
        "project": {
            "id": 7,
            "name": "=cmd()",
            "status": "draft",
            "intended_use": 'Says "hi",\nthen stops',
            "updated_at": "2026-01-01T00:00:00.000000Z",
        },
        "revision": 3,
        "classifications": [],
        "predicates": [],
        "documents": [],
        "interactions": [],
    }
    file = as_csv(export)
    assert file["filename"] == "project-7.csv"
    assert file["text"].splitlines()[1].startswith('project,7,\'=cmd(),"Says ""hi"",')
