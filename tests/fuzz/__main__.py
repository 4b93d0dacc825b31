"""Runs cases: one again by its name, or new ones for so many seconds.

python -m fuzz lines/17
python -m fuzz 60
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from fuzz.cases import survey
from fuzz.families import FAMILIES
from fuzz.rounds import campaign


def main(what: str) -> int:
    """Run what was asked for; return 1 if it finds a fault."""
    torch.set_num_threads(1)
    family, _, number = what.partition("/")
    with tempfile.TemporaryDirectory() as base:
        report = (
            survey(FAMILIES[family][0], [number], Path(base))
            if number
            else campaign(float(what), Path(base))
        )
    print(report)
    return int(bool(report.kinds))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
