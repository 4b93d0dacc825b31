"""Samples as texts that are shown as they are, and read back as they were."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from recurra import Point

DEEP = "    "
"""What stands before each line: Markdown shows such lines as they are, and none is a heading."""
SAMPLE = "sample"
"""What a sample is called beside the figures of its group."""
HEADING = re.compile(r"--- step (?P<step>\d+)(?P<final>, final)?")


def indented(text: str) -> str:
    """Return a text with each of its lines set in."""
    return "\n".join(DEEP + line for line in text.split("\n"))


def plain(text: str) -> str:
    """Return a text as it was before it was set in."""
    return "\n".join(line.removeprefix(DEEP) for line in text.split("\n"))


def written(points: Iterable[Point]) -> str:
    """Return samples as one text, each below the step that it is of."""
    return "".join(
        f"--- step {each.step}{', final' if each.final else ''}\n{indented(each.text)}\n"
        for each in points
    )


def read(text: str) -> Iterator[Point]:
    """Give the samples of such a text."""
    found: list[tuple[Point, list[str]]] = []
    for line in text.removesuffix("\n").split("\n"):
        if heading := HEADING.fullmatch(line):
            final = heading["final"] is not None
            found.append((Point(int(heading["step"]), "validation", {}, final), []))
        elif found:
            found[-1][1].append(line.removeprefix(DEEP))
    for point, lines in found:
        yield point._replace(text="\n".join(lines))
