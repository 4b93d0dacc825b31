"""Tags of rows that are whole sequences: one for each element, and a wrong count is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import recurra
from recurra import InputError

TASK: dict[str, Any] = {
    "vocabulary": {"kind": "character"},
    "target": {"kind": "tags"},
    "sequence": {"length": 4, "split": [0.5, 0.0, 0.5]},
    "encoder": {"kind": "one_hot"},
    "cell": {"kind": "gru", "hidden_size": 4},
    "loss": {"kind": "cross_entropy"},
    "training": {"steps": 2, "batch_size": 1, "optimizer": {"kind": "adam", "lr": 0.01}},
    "device": {"path": "native"},
}
TEXTS = ["ab1", "1b", "a", "b1a1"]


def tags(text: str) -> list[str]:
    """Return whether each character is a digit."""
    return ["digit" if mark.isdigit() else "letter" for mark in text]


def written(folder: Path, kind: str, rows: list[tuple[Any, Any]]) -> dict[str, Any]:
    """Write a table of two columns, and return the source that reads it."""
    path = folder / f"rows.{kind}"
    if kind == "csv":
        lines = ["x,t", *(f"{text},{' '.join(own)}" for text, own in rows)]
    else:
        lines = [json.dumps({"x": text, "t": own}) for text, own in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"kind": kind, "path": str(path), "columns": ["x"], "tags": "t"}


@pytest.mark.parametrize("element", ["character", "category"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_with_tags_are_trained_on_and_tagged(kind: str, element: str, tmp_path: Path) -> None:
    """A row is a text or tokens with as many tags; each is scored, and a new file is tagged."""
    rows: list[tuple[Any, Any]] = [(text, tags(text)) for text in TEXTS]
    if element == "category":
        spaced = kind == "csv"
        rows = [(" ".join(text) if spaced else list(text), own) for text, own in rows]
    source = written(tmp_path, kind, rows)
    task = {**TASK, "source": source, "vocabulary": {"kind": element, "unknown": "token"}}
    run = recurra.run(task, runs=tmp_path / "runs")

    every = run.evaluate("all")
    assert every["predictions"] == sum(map(len, TEXTS))
    predicted = [len(answer["predicted"]) for answer in run.predict(file=source["path"])]
    assert predicted == [*map(len, TEXTS)]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("own", [["letter"], ["letter"] * 4])
def test_more_or_fewer_tags_are_told_with_the_line(
    kind: str, own: list[str], tmp_path: Path
) -> None:
    """A row of more or fewer tags than characters is refused with its line and both counts."""
    source = written(tmp_path, kind, [("ab1", tags("ab1")), ("ab1", own)])
    line = 3 if kind == "csv" else 2
    with pytest.raises(InputError, match=rf"rows.{kind}:{line}: {len(own)} tags for 3 char"):
        recurra.check({**TASK, "source": source})
