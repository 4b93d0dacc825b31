"""Makes tasks/m1_yearly.csv.gz from m1_yearly_dataset.tsf of the Monash archive.

The file lies in the wheel of aeon too. The yearly series of the M1 competition, Makridakis et al.
1982, doi:10.1002/for.3980010202; Godahewa et al. 2021, arXiv:2105.06643, CC BY 4.0.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "tasks" / "m1_yearly.csv.gz"


def rows(text: str) -> Iterator[str]:
    """Give a row for each year of each series: its name, the year's first day, and the value."""
    _, _, data = text.partition("@data\n")
    for line in data.splitlines():
        name, start, values = line.split(":")
        first = int(start[:4])
        for year, value in enumerate(values.split(","), first):
            yield f"{name},{year}-01-01,{float(value):.12g}\n"


def main() -> None:
    """Write the series in the long format, one after the other."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("file", type=Path, help="m1_yearly_dataset.tsf")
    text = arguments.parse_args().file.read_text(encoding="utf-8")

    lines = ["unique_id,ds,y\n", *rows(text)]
    TARGET.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    print(f"{TARGET}: {len(lines) - 1} values, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
