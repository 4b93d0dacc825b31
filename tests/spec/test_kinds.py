"""Another kind over a base: what both kinds share stays, the other options start afresh, and both
are said.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from conftest import HELLO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recurra.catalog import discover
from recurra.errors import InputError
from recurra.resolve import resolve

Write = Callable[..., Path]
QUICK = settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CATALOG = discover()
CELLS = CATALOG.of_kind("cell")
SHARED = {"hidden_size": 24, "num_layers": 3, "dropout": 0.25, "bidirectional": True}


@pytest.fixture(autouse=True)
def _listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed stays the same for all of these."""
    monkeypatch.setattr("recurra.resolve.discover", lambda files: CATALOG)


@QUICK
@given(st.sampled_from(CELLS), st.sampled_from(CELLS), st.booleans())
def test_a_cell_of_another_kind_keeps_what_all_cells_have(
    task: Write, one: Any, other: Any, in_file: bool
) -> None:
    """Every option of one cell in a base, another kind above: the task is sound, with the shared
    values alone.
    """
    whole = one.options(**SHARED).model_dump(mode="json", exclude_none=True)
    base = tomli_w.dumps({"cell": {"kind": one.qualified, **whole}})
    task(HELLO.replace('[cell]\nkind = "lstm"\nhidden_size = 8\n', "") + base, name="base.toml")
    name = other.component.name
    path = task('extends = "base.toml"' + (f'\n[cell]\nkind = "{name}"' if in_file else ""))
    resolved = resolve(path, [] if in_file else [f"cell.kind={name}"])

    (part,) = resolved.cells
    assert part.entry == other
    assert {field: getattr(part.options, field) for field in SHARED} == SHARED
    if one is other:
        assert part.options == one.options(**SHARED) and not resolved.notes
        return
    left_out = whole.keys() - other.options.model_fields.keys()
    assert all(field in resolved.notes[0] for field in [*left_out, *(SHARED if left_out else [])])


BASE = (
    HELLO.replace("lr = 0.01", "lr = 0.01, betas = [0.8, 0.9]")
    .replace(
        "steps = 3", 'steps = 3\nschedule = { kind = "cosine", final = 0.1, warmup_steps = 2 }'
    )
    .replace('kind = "one_hot"', 'kind = "embedding"\nsize = 5')
)


@pytest.mark.parametrize(
    ("override", "table", "expected", "gone"),
    [
        (
            "training.optimizer.kind=sgd",
            "training.optimizer",
            {"kind": "sgd", "lr": 0.01},
            "betas of adam",
        ),
        (
            "training.schedule.kind=linear",
            "training.schedule",
            {"final": 0.1, "warmup_steps": 2},
            "",
        ),
        (
            "training.schedule.kind=plateau",
            "training.schedule",
            {"warmup_steps": 2, "factor": 0.5},
            "final of cosine",
        ),
        (
            "training.optimizer.kind=Adam",
            "training.optimizer",
            {"lr": 0.01, "betas": [0.8, 0.9]},
            "",
        ),
        (
            "encoder.kind=linear",
            "encoder",
            {"kind": "recurra/linear", "size": 64},
            "size of embedding",
        ),
        ("encoder.kind=recurra/embedding", "encoder", {"size": 5}, ""),
        ("source.kind=recurra/inline", "source", {"text": "hello"}, ""),
    ],
)
def test_each_table_with_a_kind_keeps_what_is_shared(
    task: Write, override: str, table: str, expected: dict[str, Any], gone: str
) -> None:
    """An optimizer keeps its rate, a schedule its warm-up; one kind in another spelling is the same
    kind.
    """
    resolved = resolve(task(BASE), [override])
    held: Any = resolved.tables()
    for part in table.split("."):
        held = held[part]
    assert held.items() >= expected.items()
    assert gone in " ".join(resolved.notes) and bool(gone) == bool(resolved.notes)


def test_a_stack_in_place_of_a_cell_says_so(task: Write) -> None:
    """And a cell in place of a stack: the layers of the base and their options are gone, and that
    is told.
    """
    task(HELLO, name="base.toml")
    stack = 'extends = "base.toml"\n[[cell.stack]]\nkind = "gru"\nhidden_size = 4\n'
    (note,) = resolve(task(stack)).notes
    assert "takes the place of cell.hidden_size, cell.kind" in note
    notes = " ".join(resolve(task(stack), ["cell.kind=lstm", "cell.hidden_size=3"]).notes)
    assert "cell.kind (-o" in notes and "takes the place of cell.stack" in notes
    assert resolve(task(HELLO), ["cell.hidden_size=3"]).notes == []


def test_a_path_stays_where_the_new_kind_needs_one(task: Write) -> None:
    """What the new kind has no default for stays as well: the file of a csv source is that of a
    text source.
    """
    text = HELLO.replace(
        'kind = "inline"\ntext = "hello"', 'kind = "csv"\npath = "a.csv"\ncolumns = ["x"]'
    )
    resolved = resolve(task(text), ["source.kind=text"])
    assert str(resolved.parts["source"].options.path).endswith("a.csv")
    assert "columns of csv" in resolved.notes[0]


def test_an_error_says_what_a_change_of_kind_left_out(task: Write) -> None:
    """A key that the new kind lacks is told with what became of the options of the kind before."""
    with pytest.raises(InputError) as caught:
        resolve(task(BASE), ["source.kind=csv"])
    assert "text of inline is left out" in str(caught.value)


def test_a_key_that_no_kind_has_stays_an_error(task: Write) -> None:
    """Only an option of the other kind is left out: a misspelt one of the base is an error under
    any kind.
    """
    with pytest.raises(InputError) as caught:
        resolve(task(HELLO, ("hidden_size = 8", "hiden_size = 8")), ["cell.kind=gru"])
    assert [(p.code, p.nearest) for p in caught.value.problems] == [("RC011", "hidden_size")]


def test_kinds_change_one_after_the_other(task: Write) -> None:
    """Over a chain of bases an option belongs to the kind that it was written for, and does not
    come back.
    """
    task(HELLO, ("hidden_size = 8", "hidden_size = 8\nforget_bias = 1.0"), name="base.toml")
    task('extends = "base.toml"\n[cell]\nkind = "gru"', name="middle.toml")
    (cell,) = resolve(task('extends = "middle.toml"\n[cell]\nkind = "lstm"')).cells
    assert (cell.options.hidden_size, cell.options.forget_bias) == (
        8,
        cell.entry.options().forget_bias,
    )
