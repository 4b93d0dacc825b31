"""Writes the tables of keys into the pages: name, type, default and meaning, as the code has them.

    python docs/tables.py

`docs/options.md` is made whole, a section for each component of recurra's own. On the other pages a
mark tells which table stands below it:

    <!-- keys: training -->

A test compares the pages with what this gives. What a key means stands in its `Field`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel

from recurra.catalog import Catalog, Entry, discover
from recurra.catalog.entries import HOME
from recurra.contracts.component import KINDS, header
from recurra.contracts.options import BlockOptions, CellOptions, GatedOptions, LossColumn
from recurra.schema import json_schema, option_rows, rows_of
from recurra.spec import tables
from recurra.spec.schedules import SCHEDULES
from recurra.spec.spelling import literal

DOCS = Path(__file__).parent

MARK = re.compile(r"^<!-- keys: (\S+) -->\n(?:\n(?:\|.*\n)+)?", re.MULTILINE)
"""A mark, and the table below it."""

PAGE = """\
# Options of components

The options of recurra's own components: the keys that stand beside `kind` in the table of a
[task file](tasks.md), where it is told what each is for. `recurra plugins show NAME` prints the
same, of any installed component. The page is made by `python docs/tables.py`.
"""

CELLS = """
Every cell has the options [of all cells](tasks.md#cell) as well, and a cell of gates
[those of gates](tasks.md#cells-of-gates).
"""

Row = tuple[str, ...]

Maker = Callable[[Catalog], str]
"""Makes a table of keys."""


def written(page: str, catalog: Catalog) -> str:
    """Return a page with its tables of keys as the code has them."""

    def table(mark: re.Match[str]) -> str:
        first_line = mark[0].partition("\n")[0]
        return f"{first_line}\n\n{TABLES[mark[1]](catalog)}"

    return MARK.sub(table, page)


def options_page(catalog: Catalog) -> str:
    """Return the page of components: a section for each, by kind."""
    return PAGE + "".join(_sections(catalog))


def own(kind: str, catalog: Catalog) -> list[Entry]:
    """Return recurra's own components of a kind."""
    return [e for e in catalog.of_kind(kind) if e.plugin.distribution == HOME]


def _sections(catalog: Catalog) -> Iterator[str]:
    for kind in KINDS:
        yield f"\n## `{header(kind)}`\n"
        if kind == "cell":
            yield CELLS
        for entry in own(kind, catalog):
            yield f"\n### {kind} {entry.component.name}\n\n{_sentence(entry)}\n"
            if keys := _own_keys(entry):
                yield "\n" + _table(keys)


def _sentence(entry: Entry) -> str:
    """Return what a component is, and whether it has options that stand elsewhere."""
    summary = entry.component.summary
    gates = " A cell of gates." if issubclass(entry.options, GatedOptions) else ""
    return f"{summary[0].upper()}{summary[1:]}.{gates}"


def _own_keys(entry: Entry) -> list[Row]:
    """Return the options of a component, of a cell those that it alone has."""
    common = option_rows(GatedOptions) if entry.component.kind == "cell" else []
    return [row for row in option_rows(entry.options) if row not in common]


def _table(rows: list[Row], columns: Row = ("key", "type", "default", "meaning")) -> str:
    """Return rows as a table of a page."""
    lines = [columns, *map(_cells, rows)]
    body = [f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines]
    return "\n".join([body[0], "|" + "---|" * len(columns), *body[1:]]) + "\n"


def _cells(row: Row) -> Row:
    name, *others, allowed, default, meaning = row
    words = allowed.removesuffix(f", at most {tables.MOST}")
    words = re.sub(r'"[^"]*"|(?<=matching )\S+', r"`\g<0>`", words)
    words = words.replace("a list: a table of kind", "a list: tables")
    if words.startswith("a table of") and " or " in words:
        words = "a table"
    if default and default != "required":
        default = f"`{default}`"
    return tuple(
        cell.replace("|", "\\|") for cell in (f"`{name}`", *others, words, default, meaning)
    )


def _of_model(model: type[BaseModel], without: type[BaseModel] | None = None) -> Maker:
    """Return what makes the table of a model, without the keys that it shares with another."""

    def table(catalog: Catalog) -> str:
        known = option_rows(without) if without else []
        return _table([_spelled(row) for row in option_rows(model) if row not in known])

    return table


def _spelled(row: Row) -> Row:
    """Return a row whose default is TOML, also where it is a table."""
    name, allowed, default, meaning = row
    if default.startswith("{"):
        table = json.loads(default)
        keys = sorted(table, key=lambda key: key != "kind")
        default = "{ " + ", ".join(f"{key} = {literal(table[key])}" for key in keys) + " }"
    return name, allowed, default, meaning


def _of_file(catalog: Catalog) -> str:
    """Return the keys of the file itself, outside every table."""
    schema = json_schema(catalog)
    keys = [key for key in schema["properties"] if (key,) not in tables.TABLES]
    return _table([*rows_of({"properties": {key: schema["properties"][key] for key in keys}})])


def _of_schedules(catalog: Catalog) -> str:
    """Return the keys of all schedules, each with the kinds that have it."""
    kinds: dict[Row, list[str]] = {}
    for kind, model in SCHEDULES.items():
        for row in option_rows(model):
            if row[0] != "kind":
                kinds.setdefault(row, []).append(f"`{kind}`")
    every = len(SCHEDULES)
    rows = [
        (name, "all" if len(of) == every else ", ".join(of), *rest)
        for (name, *rest), of in kinds.items()
    ]
    return _table(rows, ("key", "of", "type", "default", "meaning"))


TABLES: dict[str, Maker] = {
    "file": _of_file,
    "plugins": _of_model(tables.Plugins),
    "sequence": _of_model(tables.Sequence),
    "cell": _of_model(CellOptions),
    "cell.gates": _of_model(GatedOptions, without=CellOptions),
    "cell.block": _of_model(BlockOptions),
    "loss.columns": _of_model(LossColumn),
    "training": _of_model(tables.Training),
    "training.schedule": _of_schedules,
    "generation": _of_model(tables.Generation),
    "device": _of_model(tables.Device),
    "expect": _of_model(tables.Expect),
}
"""What each mark stands for."""


def pages(catalog: Catalog) -> dict[Path, str]:
    """Return every page that has a table of keys, as it must be."""
    whole = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
    marked = {path: written(text, catalog) for path, text in whole.items() if MARK.search(text)}
    return marked | {DOCS / "options.md": options_page(catalog)}


if __name__ == "__main__":
    for path, text in pages(discover()).items():
        path.write_text(text, encoding="utf-8")
