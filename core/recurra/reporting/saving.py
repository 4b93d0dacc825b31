"""A picture as a file: SVG, PNG or its data as csv, by the end of the name."""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

from recurra.drawing import Picture
from recurra.errors import InputError
from recurra.generate import arguments
from recurra.reporting.subjects import picture
from recurra.reporting.view import View
from recurra.runs import files

FORMS = (".svg", ".png", ".csv")
ZOOM = 2
"""Pixels of a PNG for each unit of a picture: what a screen of two thousand shows crisply."""


def form_of(path: Path) -> str:
    """Return how a picture is written, by the name of its file.

    Raises `InputError` (RC080) for a name that tells nothing, and for PNG without what makes one.
    """
    form = path.suffix.lower()
    if form not in FORMS:
        fact = f"the name of {path} does not tell how a picture is to be written"
        raise InputError.of("RC080", fact, allowed=f"a name that ends with {', '.join(FORMS)}")
    if form == ".png":
        _resvg()
    return form


def drawn(view: View, name: str, output: str | PathLike[str] | None = None) -> Picture:
    """Return a picture of a view, and write it where an `output` is named, as `plot` does."""
    path = None if output is None else arguments.path("output", output)
    if path is not None:
        # What cannot be written is told before anything is drawn.
        form_of(path)
        files.check_writable(path)
    made = picture(view, arguments.name("picture", name))
    if path is not None:
        save(made, path)
    return made


def save(made: Picture, path: Path) -> int:
    """Write a picture, whole or not at all, and return how many bytes it has.

    Raises `InputError` (RC080) as `form_of` does, and `RunError` (RC053).
    """
    form = form_of(path)
    if form == ".png":
        content = png(made)
    else:
        text = made.svg() if form == ".svg" else made.csv()
        content = text.encode("utf-8", "replace")
    with files.streamed(path, binary=True) as file:
        file.write(content)
    return len(content)


def png(made: Picture) -> bytes:
    """Return a picture as PNG, on light paper. Raises `InputError` (RC080) without resvg."""
    content = _resvg().svg_to_bytes(
        svg_string=made.svg(dark=False),
        zoom=ZOOM,
        background="#ffffff",
        sans_serif_family="DejaVu Sans",
        monospace_family="DejaVu Sans Mono",
    )
    return bytes(content)


def _resvg() -> Any:
    try:
        return import_module("resvg_py")
    except ImportError as error:
        fact = "PNG is made by resvg, which is not installed"
        cure = "pip install 'recurra[plot]', or write .svg"
        raise InputError.of("RC080", fact, cure=cure) from error
