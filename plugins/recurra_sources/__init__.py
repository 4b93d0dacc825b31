"""First-party sources; none of them imports torch."""

from __future__ import annotations

from typing import Any

from recurra import Component, hookimpl

COLUMNS: tuple[dict[str, Any], ...] = (
    {"columns": ["high"]},
    {"columns": ["high", "low"], "group": "station", "missing": "forward"},
    {"columns": ["name"], "group": "station"},
    {"columns": ["name"], "group": "station", "separator": " / "},
    {"columns": ["low"], "missing": "drop"},
    {"columns": ["name"], "label": "station"},
    {"columns": ["high", "low"], "label": "station", "missing": "drop"},
)
SALES: tuple[dict[str, Any], ...] = (
    {},
    {"columns": ["y"], "group": "unique_id", "time": "ds", "frequency": "month"},
    {
        "columns": ["y"],
        "group": "unique_id",
        "time": "ds",
        "gaps": "fill",
        "missing": "interpolate",
    },
)
"""Time stamps, named or those of the long format."""
SHOP: dict[str, Any] = {
    "columns": ["sold"],
    "group": "shop",
    "past_covariates": ["visitors"],
    "future_covariates": ["price", "sky"],
    "static_covariates": ["area", "region"],
    "categorical": ["region"],
}
SHOPS: tuple[dict[str, Any], ...] = (
    {**SHOP, "missing": "interpolate"},
    {**SHOP, "time": "month", "gaps": "fill", "missing": "forward"},
    {**SHOP, "time": "month", "gaps": "fill", "missing": "keep"},
)
"""Covariates of steps, of steps that are still to come, and of whole series."""
TIDES: dict[str, Any] = {
    "path": "examples/tides.csv",
    "header": False,
    "delimiter": ";",
    "quote": "'",
    "comment": "//",
    "na": ["-", "n.a.", "-999"],
}
FIGURES = {"decimal": ",", "thousands": " ", "percent": "share"}
"""A table that is written otherwise, and how its numbers are."""
EXAMPLES: dict[str, tuple[dict[str, Any], ...]] = {
    "inline": (
        {"text": "hello"},
        {"texts": ["to and fro", "and back"]},
        {"tokens": ["red", "green", "red"]},
        {"values": [[1.0, 2.0], [3.0, 5.0], [2.0, 4.0]]},
        {"series": [[1.0, 2.0, 3.0], [4.0, 5.0]]},
        {"texts": ["to and fro", "and back"], "labels": ["there", "here"]},
        {"tokens": [["red", "green"], ["red"]], "labels": [2, 1]},
        {"series": [[[1.0, 2.0], [3.0, 5.0]], [[2.0, 4.0]]], "labels": ["up", "down"]},
        {"texts": ["to and fro", "and back"], "folds": ["train", "test"]},
        {"tokens": [["red", "green"], ["red"]], "tags": [["warm", "cold"], ["warm"]]},
        {"values": [1.0, 2.0, 4.0], "tags": ["low", "low", "high"]},
    ),
    "given": ({}, {"columns": ["high", "low"], "group": "station", "missing": "forward"}),
    "text": (
        {"path": "examples/rhyme.txt"},
        {"paths": ["examples/*.txt", "examples/weather.csv"]},
        {"path": "examples/rhyme.txt", "each": "line"},
        {"path": "examples/voices/*/*.txt", "labels": "folder"},
    ),
    "csv": (
        *({"path": "examples/weather.csv", **columns} for columns in COLUMNS),
        *({"path": "examples/sales.csv", **columns} for columns in SALES),
        *({"path": "examples/shops.csv", **columns} for columns in SHOPS),
        {"path": "examples/strokes.csv", "columns": ["x", "y"], "group": "pen", "label": "letter"},
        {**TIDES, "columns": ["3"], "label": "1"},
        {**TIDES, **FIGURES, "columns": ["2", "4"], "group": "1", "missing": "drop"},
    ),
    "parquet": (
        *({"path": "examples/weather.parquet", **columns} for columns in COLUMNS),
        *({"path": "examples/sales.parquet", **columns} for columns in SALES),
        *({"path": "examples/shops.parquet", **columns} for columns in SHOPS),
        {"path": "examples/strokes.parquet", "columns": ["points"], "label": "letter"},
        {"path": "examples/strokes.parquet", "columns": ["x", "y"], "label": "letter"},
        {"path": "examples/strokes.parquet", "columns": ["turns"], "label": "letter"},
    ),
    "jsonl": (
        *({"path": "examples/weather.jsonl", **columns} for columns in COLUMNS),
        *({"path": "examples/sales.jsonl", **columns} for columns in SALES),
        *({"path": "examples/shops.jsonl", **columns} for columns in SHOPS),
        {"path": "examples/strokes.jsonl", "columns": ["points"], "label": "letter"},
        {"path": "examples/strokes.jsonl", "columns": ["x", "y"], "label": "letter"},
        {"path": "examples/strokes.jsonl", "columns": ["turns"], "label": "letter"},
    ),
}
"""Tables that each source is checked under; their files lie beside this one."""


@hookimpl
def recurra_components() -> list[Component]:
    """Return the sources."""
    rows = [
        ("inline", "inline:Inline", "text, tokens or numbers written in the task file itself"),
        ("text", "text:Text", "text files, by name or by pattern, plain or .gz"),
        ("csv", "tables:Csv", "columns of a csv file: numbers, tokens, or one text a row"),
        ("jsonl", "tables:Jsonl", "keys of a file with one JSON object a line"),
        (
            "parquet",
            "parquet:Parquet",
            "columns of a parquet file, which needs the extra recurra[data]",
        ),
        ("given", "given:Given", "arrays, lists or a DataFrame that a program gives in Python"),
        (
            "python_docs",
            "python_docs:PythonDocs",
            "the documentation inside every CPython: 465 kB of English",
        ),
        (
            "python_tokens",
            "python_tokens:PythonTokens",
            "the modules of every CPython, each character tagged with its kind of token",
        ),
    ]
    return [
        Component(
            kind="source",
            name=name,
            target=f"recurra_sources.{target}",
            options=f"recurra_sources.{target}Options",
            summary=summary,
            examples=EXAMPLES.get(name, ()),
            lacks=("data",) if name == "given" else (),
        )
        for name, target, summary in rows
    ]
