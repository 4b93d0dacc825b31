"""What tests of sources share: sequences put together, and tables written as csv and as JSON
lines.
"""

from __future__ import annotations

import json

import numpy as np

from recurra_sources.tables import Csv, CsvOptions, Jsonl, JsonlOptions
from recurra_sources.text import Text, TextOptions


def gathered(source, element="text"):
    """Return the sequences of a source, pieces of one sequence put together."""
    found = []
    for values, start, _ in source.read(element):
        if start or not found:
            found.append([])
        found[-1].append(values)
    joins = {
        "text": "".join,
        "tokens": lambda parts: sum(parts, []),
        "numbers": lambda p: np.concatenate(p).tolist(),
    }
    return [joins[element](parts) for parts in found]


def labelled(source, element="text"):
    """Return the sequences of a source, each with its label; only the piece that starts one may
    carry it.
    """
    labels = []
    for _, start, columns in source.read(element):
        assert set(columns) == ({"label"} if start else set())
        assert all(type(label) is str for label in columns.values())
        labels += columns.values()
    return list(zip(gathered(source, element), labels, strict=True))


def text(path, **options):
    return Text(TextOptions(path=str(path), **options))


class Sheet:
    """Writes the same rows as csv and as JSON lines."""

    def __init__(self, folder, kind):
        self.path, self.kind = folder / f"table.{kind}", kind

    def write(self, names, rows):
        if self.kind == "csv":
            lines = [
                ",".join(names),
                *[",".join("" if cell is None else str(cell) for cell in row) for row in rows],
            ]
        else:
            lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
        self.path.write_text("".join(line + "\n" for line in lines))
        return self

    def row(self, index):
        """Return how the file counts the row that was written at an index."""
        return index + (2 if self.kind == "csv" else 1)

    def source(self, columns, **options):
        source, model = {"csv": (Csv, CsvOptions), "jsonl": (Jsonl, JsonlOptions)}[self.kind]
        return source(model(path=str(self.path), columns=columns, **options))


def csv_of(tmp_path, content, **options):
    path = tmp_path / "table.csv"
    path.write_bytes(content.encode())
    return Csv(CsvOptions(path=str(path), **options))


def jsonl_of(tmp_path, *lines, **options):
    path = tmp_path / "table.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return Jsonl(JsonlOptions(path=str(path), **options))
