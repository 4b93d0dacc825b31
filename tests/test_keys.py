"""Every key of a task file stands on a page, with its type, its default and what it means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import pages
import pytest
from pages import WRITER, page, quoted, rows, section
from pydantic import BaseModel

from recurra.catalog import discover
from recurra.contracts.component import KINDS, header
from recurra.contracts.options import CellOptions, GatedOptions, Options
from recurra.schema import json_schema
from recurra.spec import tables
from recurra.spec.schedules import SCHEDULES
from recurra.train import optimizer

WRITE = "say it in the Field(description=...) of the key, then: python docs/tables.py"
CATALOG = discover()


def models(of: Any) -> Iterator[type[BaseModel]]:
    """Give the models in a type, those of their fields with them."""
    if isinstance(of, type) and issubclass(of, BaseModel):
        yield of
        for field in of.model_fields.values():
            yield from models(field.annotation)
    for inner in get_args(of):
        yield from models(inner)


def keys(model: type[BaseModel]) -> set[str]:
    """Return the keys of a table, as a task file spells them."""
    return {field.alias or name for name, field in model.model_fields.items()}


def told(text: str) -> dict[str, list[str]]:
    """Return what the tables of keys of a text say of each key: type, default, meaning."""
    return {quoted(row[0])[0]: row[-3:] for row in rows(text) if len(row) >= 4}


TABLES = {
    tables.Task: "## The file itself",
    tables.Plugins: "## `[plugins]`",
    tables.Sequence: "## `[sequence]`",
    tables.Training: "## `[training]`",
    tables.Generation: "## `[generation]`",
    tables.Device: "## `[device]`",
    tables.Expect: "## `[expect]`",
    **dict.fromkeys(SCHEDULES.values(), "### `[training.schedule]`"),
}
"""The headings under which the core's own tables stand."""


@pytest.mark.parametrize("model", dict.fromkeys(models(tables.Task)), ids=lambda m: m.__name__)
def test_every_key_of_the_core_is_told(model: type[BaseModel]) -> None:
    """Each key of each table of the core has a row, whose type and meaning are there."""
    text = section(page("tasks"), TABLES[model])
    inner = {path[0] for path in tables.TABLES if len(path) == 1}
    wanted = keys(model) - (inner if model is tables.Task else {"kind"})
    for key in wanted:
        kind, _, meaning = told(text).get(key, ["", "", ""])
        assert kind and meaning, f"{TABLES[model]} lacks {key}: {WRITE}"


def test_no_key_is_told_that_is_not_there() -> None:
    """The rows of the file itself are its keys, with those that come before any table is read."""
    inner = {path[0] for path in tables.TABLES if len(path) == 1}
    whole = json_schema(CATALOG)["properties"].keys() - inner
    first = page("tasks").partition("## `[plugins]`")[0]
    assert told(section(first, "## The file itself")).keys() == whole > {"extends", "unset"}


OWN = [entry for kind in KINDS for entry in WRITER.own(kind, CATALOG)]


@pytest.mark.parametrize("entry", OWN, ids=lambda e: f"{e.component.kind} {e.component.name}")
def test_every_option_is_told(entry: Any) -> None:
    """Each option of each component has a row, in its own section or with those of all cells."""
    component = entry.component
    text = section(page("options"), f"### {component.kind} {component.name}")
    common = page("tasks") if component.kind in ("cell", "loss") else ""
    for model in models(entry.options):
        assert issubclass(model, Options)
        for key in keys(model):
            kind, _, meaning = told(common + text).get(key, ["", "", ""])
            assert kind and meaning, f"{component.kind} {component.name} lacks {key}: {WRITE}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_is_told(kind: str) -> None:
    """The page on task files names each component of a kind, and leads to its options."""
    text = section(page("tasks"), f"## `{header(kind)}`")
    links = set(re.findall(rf"\[`(\w+)`\]\(options\.md#{kind}-(\w+)\)", text))
    names = {entry.component.name for entry in OWN if entry.component.kind == kind}
    assert links == {(name, name) for name in names}, f"docs/tasks.md: ## [{kind}]"


def test_cells_of_gates_are_those_of_their_options() -> None:
    """What every cell has, and every cell of gates, stands on the page on task files once."""
    text = section(page("tasks"), "## `[cell]`")
    gates = section(text, "### Cells of gates")
    assert told(gates).keys() == keys(GatedOptions) - keys(CellOptions)
    assert keys(CellOptions) <= told(text).keys()


def test_optimizers_that_cannot_be_used_are_named() -> None:
    """The page names each class of torch.optim that is refused."""
    text = section(page("tasks"), "### `[training.optimizer]`")
    refused = {name.lower() for name in quoted(text)} & {*optimizer._NEEDS_MORE}
    assert refused == {*optimizer._NEEDS_MORE}


def test_a_mark_that_means_nothing_is_a_mistake() -> None:
    """Each mark of a page is one that the script knows, and each of its tables stands once."""
    marks = [mark for text in pages.PAGES.values() for mark in WRITER.MARK.findall(text)]
    assert sorted(marks) == sorted(WRITER.TABLES)
