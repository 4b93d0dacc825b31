"""Makes tasks/japanese_vowels.jsonl.gz from the files of the UCI archive, ae.train and ae.test.

M. Kudo, J. Toyama and M. Shimbo 1999, doi:10.24432/C5NS47, CC BY 4.0; values are rounded.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "tasks" / "japanese_vowels.jsonl.gz"

SIZES = {"train": [30] * 9, "test": [31, 35, 88, 44, 29, 24, 40, 50, 29]}
"""Utterances of each speaker, one after another, as size_ae.train and size_ae.test say."""

DECIMALS = 3


def utterances(path: Path) -> Iterator[list[list[float]]]:
    """Give the steps of each utterance, 12 numbers each; blank lines stand between utterances."""
    for block in path.read_text(encoding="ascii").split("\n\n"):
        rows = [line.split() for line in block.splitlines()]
        steps = [[round(float(cell), DECIMALS) for cell in row] for row in rows]
        if steps:
            yield steps


def main() -> None:
    """Write one line an utterance: the archive's fold, the speaker, and the steps."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path, help="where the archive was unpacked")
    folder = arguments.parse_args().folder

    lines = []
    for fold, sizes in SIZES.items():
        speakers = [f"speaker {at}" for at, size in enumerate(sizes, 1) for _ in range(size)]
        for speaker, steps in zip(speakers, utterances(folder / f"ae.{fold}"), strict=True):
            record = {"fold": fold, "speaker": speaker, "steps": steps}
            lines.append(json.dumps(record, separators=(",", ":")) + "\n")

    TARGET.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    print(f"{TARGET}: {len(lines)} utterances, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
