"""How the table of speeds is measured from the command line, and printed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from recurra.bench import suite
from recurra.bench.machine import Machine
from recurra.bench.records import SHAPES, Record, Rivals
from recurra.bench.rivals import python_of
from recurra.cli.common import counted

WIDE = 140
"""Columns that the table takes where nobody says how many there are."""
UNITS = {"speed": "x", "time": "x", "worst": "x", "s": " s", "GB": " GB"}


def bench(
    rows: str | None,
    shapes: str | None,
    pairs: int,
    threads: int | None,
    quiet: bool,
    named: Mapping[str, str | None] = MappingProxyType({}),
) -> tuple[dict[str, Any], KeyboardInterrupt | None]:
    """Measure, print each line as it comes and the table at the end; return all as plain data.

    With it comes the request to end, if there was one after the first line: what was measured until
    then is all there is. `named` says where the Python of another library is. With `quiet` the
    lines go to stderr and there is no table. Raises `InputError` (RC080).
    """
    out = sys.stderr if quiet else sys.stdout
    machines: list[Machine] = []
    records: list[Record] = []

    def print_machine(machine: Machine) -> None:
        machines.append(machine)
        print(about(machine), file=out, flush=True)

    def print_record(record: Record) -> None:
        records.append(record)
        print(line(record), file=out, flush=True)

    pythons = {}
    for library, name in named.items():
        if python := python_of(f"--{library}", name):
            pythons[library] = python
    rivals = Rivals(pythons, threads or 1)

    cases = suite.chosen(rows, shapes, rivals)
    request: KeyboardInterrupt | None = None
    try:
        suite.run(
            cases, print_record, begun=print_machine, pairs=pairs, threads=threads, rivals=rivals
        )
    except KeyboardInterrupt as asked:
        if not records:
            raise
        request = asked

    if not quiet:
        # A file or a pipe has no width of its own, and a narrow table would fold its cells.
        width = None if sys.stdout.isatty() else WIDE
        console = Console(highlight=False, markup=False, width=width)
        console.print(table(records))

    failed = [record for record in records if record.error]
    report = {
        "machine": machines[0].data(),
        "rivals": rivals.about,
        "pairs": pairs,
        "failed": len(failed),
        "interrupted": request is not None,
        "records": [record.data() for record in records],
    }
    return report, request


def about(machine: Machine) -> str:
    """Return the machine in two lines."""
    threads = counted(machine.threads, "thread")
    versions = f"torch {machine.torch}, Python {machine.python}"
    products = f"float32 products {machine.flops / 1e9:.0f} GFLOP/s"
    copying = f"copying {machine.copied / 1e9:.1f} GB/s"
    return f"{machine.processor}, {threads}; {versions}\n{products}, {copying}"


def line(record: Record) -> str:
    """Return a record in a line."""
    place = f" at {record.shape}" if record.shape else ""
    label = f"row {record.row:>2}  {record.what}{place}: "
    if record.error:
        return f"{label}failed: {record.error}"
    if record.value is None:
        return f"{label}not measured: {record.skipped}"

    text = label + figure(record.value, record)
    if record.reached is False:
        text += f", {floor(record)} wanted"
    if record.rival:
        text += f"; beside {record.rival}"
    if record.doubts:
        text += f" (doubtful: {'; '.join(record.doubts)})"
    return text


def table(records: list[Record]) -> Table:
    """Return the table of all records."""
    table = Table(box=None, pad_edge=False)
    for name, justify in COLUMNS.items():
        table.add_column(name, justify=justify, overflow="fold")
    for record in records:
        table.add_row(*cells(record))
    return table


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
    """Return the cells of a record, one for each of `COLUMNS`."""
    shape = f"{record.shape} {record.size}" if record.shape in SHAPES else record.shape
    label = [str(record.row), record.what, shape]
    if record.value is None or record.spread is None:
        outcome = "failed" if record.error else "not measured"
        return [*label, "", floor(record), "", outcome, "", "", ""]

    value = figure(record.value, record)
    mark = {True: "yes", False: "no", None: ""}[record.reached]
    if record.doubts:
        mark += "?"

    low, high = (digits(value) for value in record.spread)
    spread = f"{low} to {high}"
    share = "" if record.share is None else f"{100 * record.share:.0f} % of {record.share_of}"
    others = "" if record.load is None else f"{record.load:.1f} cores"
    path = f"{record.path}; {record.rival}" if record.rival else record.path
    return [*label, value, floor(record), mark, spread, share, others, path]


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
    bound = f"{record.floor:g}{UNITS[record.unit]}"
    return bound if record.unit == "speed" else f"<= {bound}"
