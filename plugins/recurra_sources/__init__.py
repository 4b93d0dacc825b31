"""First-party sources; none of them imports torch."""

from __future__ import annotations

from recurra import Component, hookimpl


@hookimpl
def recurra_components() -> list[Component]:
    """Return the sources."""
    rows = [
        ("inline", "inline:Inline", "text, tokens or numbers written in the task file itself"),
        ("text", "text:Text", "text files, by name or by pattern, plain or .gz"),
        ("csv", "tables:Csv", "columns of a csv file: numbers, tokens, or one text a row"),
        ("jsonl", "tables:Jsonl", "keys of a file with one JSON object a line"),
        (
            "python_docs",
            "python_docs:PythonDocs",
            "the documentation inside every CPython: 465 kB of English",
        ),
    ]
    return [
        Component(
            kind="source",
            name=name,
            target=f"recurra_sources.{target}",
            options=f"recurra_sources.{target}Options",
            summary=summary,
        )
        for name, target, summary in rows
    ]
