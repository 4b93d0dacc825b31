"""First-party vocabularies; none of them imports torch."""

from __future__ import annotations

from recurra import Component, hookimpl


@hookimpl
def recurra_components() -> list[Component]:
    """Return the vocabularies."""
    rows = [
        ("character", "Character", "every Unicode code point of the text is a symbol"),
        ("byte", "Byte", "the 256 bytes of UTF-8; nothing is ever unknown"),
        (
            "word",
            "Word",
            (
                "words with the space before them, punctuation, white space; decoding gives the"
                " text back"
            ),
        ),
        ("bpe", "BPE", "pieces of words, joined of bytes by how often they stand together"),
        ("category", "Category", "whole tokens, as a column of names gives them"),
        ("numeric", "Numeric", "numbers, scaled by what the training split holds"),
    ]
    return [
        Component(
            kind="vocabulary",
            name=name,
            target=f"recurra_vocabularies.{name}:{title}",
            options=f"recurra_vocabularies.{name}:{title}Options",
            summary=summary,
            api="1.0" if name in ("character", "byte") else "1.1",
        )
        for name, title, summary in rows
    ]
