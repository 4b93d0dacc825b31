"""Markup is written here alone: tags, attributes and text, all of which are escaped."""

from __future__ import annotations

from typing import Any

from recurra.drawing.words import escaped


class Markup(str):
    """A text that is markup already; nothing but this file makes one of any other text."""


def tag(kind: str, /, *inner: Any, **attributes: Any) -> Markup:
    """Return an element: what is no `Markup` inside is escaped, and so is each attribute.

    `class_` stands for `class` and `_` for `-`; an attribute of None is left out.
    """
    opened = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_written(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if not inner:
        return Markup(f"<{kind}{opened}/>")
    return Markup(f"<{kind}{opened}>{''.join(map(_markup, inner))}</{kind}>")


def joined(*parts: Any) -> Markup:
    """Return parts one after the other; what is no `Markup` is escaped."""
    return Markup("".join(map(_markup, parts)))


def own(text: str) -> Markup:
    """Return what was written by recurra itself, as a script or a style is, as it stands."""
    return Markup(text)


def _markup(part: Any) -> str:
    return part if isinstance(part, Markup) else escaped(part)


def _written(value: Any) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else escaped(value)


def place(value: float) -> str:
    """Return a coordinate, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")
