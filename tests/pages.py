"""The README and the pages of `docs`, and what stands on them: sections, tables, examples."""

from __future__ import annotations

import re
from importlib import util
from pathlib import Path
from typing import Any

from conftest import REPOSITORY

README = REPOSITORY / "README.md"
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))

PAGES = {path: path.read_text(encoding="utf-8") for path in (README, *DOCS)}
"""The text of each page, the README first."""

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def _script(path: Path) -> Any:
    """Return the module of a script."""
    spec = util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WRITER = _script(REPOSITORY / "docs" / "tables.py")
"""What writes the tables of keys into the pages."""


def page(name: str) -> str:
    """Return the text of a page of `docs`."""
    return PAGES[REPOSITORY / "docs" / f"{name}.md"]


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language, those of the README first."""
    matches = [match for text in PAGES.values() for match in BLOCK.findall(text)]
    return [body for of, body in matches if of == language]


def block(language: str, begins: str) -> str:
    """Return the one block of a language that begins so."""
    (body,) = [body for body in blocks(language) if body.startswith(begins)]
    return body


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of its depth or above."""
    begin = text.index(f"\n{heading}\n") + 1
    depth = len(heading) - len(heading.lstrip("#"))
    plain = BLOCK.sub(lambda match: re.sub(r"^#", " ", match[0], flags=re.MULTILINE), text)
    after = re.search(rf"^#{{1,{depth}}} ", plain[begin + len(heading) :], re.MULTILINE)
    return text[begin : begin + len(heading) + after.start()] if after else text[begin:]


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of the tables of a text, but for the heads of their columns."""
    lines = text.splitlines()
    heads = {number - 1 for number, line in enumerate(lines) if re.fullmatch(r"[|-]+", line)}
    body = [line for n, line in enumerate(lines) if line.startswith("| ") and n not in heads]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in body]


def quoted(cell: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def prose(text: str) -> str:
    """Return a text without its blocks."""
    return BLOCK.sub("", text)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made of them where the page is shown."""
    headings = HEADING.findall(prose(path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
