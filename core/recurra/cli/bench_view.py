"""How the table of speeds is measured from the command line, and printed."""

from __future__ import annotations

import sys
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from recurra.bench import suite
from recurra.bench.machine import Machine
from recurra.bench.records import SHAPES, Record

WIDE = 140
"""Columns that the table takes where nobody says how many there are."""
UNITS = {"speed": "x", "time": "x", "worst": "x", "s": " s", "GB": " GB"}


def bench(
    rows: str | None, shapes: str | None, pairs: int, threads: int | None, quiet: bool
) -> dict[str, Any]:
    """Measure, print each line as it comes and the table at the end, and return all of it as plain
    data.

    With `quiet` the lines go to stderr and there is no table. Raises `InputError` (RC080).
    """
    out = sys.stderr if quiet else sys.stdout
    cases = suite.chosen(rows, shapes)

    def told(record: Record) -> None:
        print(line(record), file=out, flush=True)

    machine, records = suite.run(
        cases,
        told,
        begun=lambda it: print(about(it), file=out, flush=True),
        pairs=pairs,
        threads=threads,
    )
    if not quiet:
        width = None if sys.stdout.isatty() else WIDE
        Console(highlight=False, markup=False, width=width).print(table(records))
    return {
        "machine": machine.data(),
        "pairs": pairs,
        "failed": sum(bool(record.error) for record in records),
        "records": [record.data() for record in records],
    }


def about(machine: Machine) -> str:
    """Return the machine in two lines."""
    threads = f"{machine.threads} thread{'s' if machine.threads > 1 else ''}"
    return (
        f"{machine.processor}, {threads}; torch {machine.torch}, Python {machine.python}\nfloat32"
        f" products {machine.flops / 1e9:.0f} GFLOP/s, copying {machine.copied / 1e9:.1f} GB/s"
    )


def line(record: Record) -> str:
    """Return a record in a line."""
    told = record.error or record.skipped
    label = f"row {record.row:>2}  {record.what}{' at ' + record.shape if record.shape else ''}: "
    if record.value is None:
        return label + ("failed: " if record.error else "not measured: ") + told
    short = f", {floor(record)} wanted" if record.reached is False else ""
    doubts = f" (doubtful: {'; '.join(record.doubts)})" if record.doubts else ""
    return label + figure(record.value, record) + short + doubts


def table(records: list[Record]) -> Table:
    """Return the table of all records."""
    found = Table(box=None, pad_edge=False)
    for name, justify in COLUMNS.items():
        found.add_column(name, justify=justify, overflow="fold")
    for record in records:
        found.add_row(*cells(record))
    return found


COLUMNS: dict[str, Literal["left", "right"]] = {
    "row": "right",
    "what": "left",
    "shape": "left",
    "ratio": "right",
    "must reach": "right",
    "": "left",
    "spread": "left",
    "of the peak": "left",
    "others": "left",
    "path": "left",
}


def cells(record: Record) -> list[str]:
    """Return the cells of a record."""
    shape = f"{record.shape} {record.size}" if record.shape in SHAPES else record.shape
    start = [str(record.row), record.what, shape]
    if record.value is None or record.spread is None:
        return [
            *start,
            "",
            floor(record),
            "",
            "failed" if record.error else "not measured",
            "",
            "",
            "",
        ]
    low, high = (digits(value) for value in record.spread)
    share = "" if record.share is None else f"{100 * record.share:.0f} % of {record.share_of}"
    mark = {True: "yes", False: "no", None: ""}[record.reached] + ("?" if record.doubts else "")
    others = "" if record.load is None else f"{record.load:.1f} cores"
    value = figure(record.value, record)
    return [*start, value, floor(record), mark, f"{low} to {high}", share, others, record.path]


def figure(value: float, record: Record) -> str:
    """Return a value with its unit."""
    return digits(value) + UNITS[record.unit]


def digits(value: float) -> str:
    """Return a figure to three digits."""
    return f"{value:#.3g}".rstrip(".")


def floor(record: Record) -> str:
    """Return what a record must reach."""
    if record.floor is None:
        return ""
    return ("" if record.unit == "speed" else "<= ") + f"{record.floor:g}{UNITS[record.unit]}"
