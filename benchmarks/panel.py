"""What reading a panel costs: processor time a row, and the most memory, by form and by order.

The panel has the columns unique_id, ds and y; each form is read in a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from recurra_sources.parquet import Parquet, ParquetOptions
from recurra_sources.tables import Csv, CsvOptions

AT_ONCE = 100_000
"""Rows that are written at a time."""
MIB = 1 << 10
"""Kilobytes of a MiB."""


def tables(series: int, steps: int, interleaved: bool) -> Iterator[pa.Table]:
    """Give the rows, series after series, or in the order of time."""
    draw = np.random.default_rng(0)
    names = np.array([f"T{number}" for number in range(series)])
    days = np.datetime64("2000-01-01") + np.arange(steps)
    some = max(1, AT_ONCE // (series if interleaved else steps))
    for low in range(0, steps if interleaved else series, some):
        own_names = names if interleaved else names[low : low + some]
        own_days = days[low : low + some] if interleaved else days
        grid = (own_days, own_names) if interleaved else (own_names, own_days)
        outer, inner = np.repeat(grid[0], len(grid[1])), np.tile(grid[1], len(grid[0]))
        ds, unique_id = (outer, inner) if interleaved else (inner, outer)
        y = np.round(draw.normal(size=len(outer)).cumsum() + 100, 3)
        yield pa.table({"unique_id": unique_id, "ds": pa.array(ds), "y": y})


def write(path: Path, series: int, steps: int, interleaved: bool) -> None:
    """Write a panel to a file, by its suffix."""
    writer: Any = None
    for table in tables(series, steps, interleaved):
        if writer is None and path.suffix == ".csv":
            writer = pyarrow.csv.CSVWriter(path, table.schema)
        elif writer is None:
            writer = pyarrow.parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def read(path: str) -> None:
    """Read a panel, and print what that took."""
    source: Any = Csv(CsvOptions(path=path))
    if path.endswith(".parquet"):
        source = Parquet(ParquetOptions(path=path))
    start = time.process_time()
    rows = sum(len(piece.values) for piece in source.read("numbers"))
    seconds = time.process_time() - start
    # Other than by getrusage, what the process was copied from does not count.
    status = Path("/proc/self/status").read_text()
    most = int(status.partition("VmHWM:")[2].split()[0]) / MIB
    print(f"{rows:12,} rows  {1e6 * seconds / rows:6.2f} us a row  {most:5.0f} MiB at most")


def main() -> None:
    """Write and read each form."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--series", type=int, default=1000)
    arguments.add_argument("--steps", type=int, default=1000)
    arguments.add_argument("--read", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.read:
        read(given.read)
        return
    with tempfile.TemporaryDirectory() as folder:
        for form in ("parquet", "csv"):
            for interleaved in (False, True):
                path = Path(folder) / f"panel.{form}"
                write(path, given.series, given.steps, interleaved)
                order = "in order of time" if interleaved else "series after series"
                print(f"{form:8} {order:20}", end="", flush=True)
                subprocess.run([sys.executable, __file__, "--read", str(path)], check=True)


if __name__ == "__main__":
    main()
