"""Makes tasks/digits.jsonl.gz from scikit-learn's copy of the UCI test set of handwritten digits.

E. Alpaydin and C. Kaynak 1998, doi:10.24432/C50P49, CC BY 4.0. `pip install scikit-learn` first.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from sklearn.datasets import load_digits

TARGET = Path(__file__).resolve().parents[1] / "tasks" / "digits.jsonl.gz"


def main() -> None:
    """Write one line an image: its digit, its 8 rows of 8 numbers, and the 64 as they are read."""
    digits = load_digits()
    lines = []
    images = digits.images.astype(int).tolist()
    for image, digit in zip(images, digits.target.tolist(), strict=True):
        pixels = [pixel for row in image for pixel in row]
        record = {"digit": str(digit), "rows": image, "pixels": pixels}
        lines.append(json.dumps(record, separators=(",", ":")) + "\n")

    TARGET.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    print(f"{TARGET}: {len(lines)} images, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
