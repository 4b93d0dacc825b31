"""Where in somebody's code a function of torch is called, and what stands there."""

from __future__ import annotations

import ast
import itertools
import linecache
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

from torch import Tensor


class Call(NamedTuple):
    """A call: its `text` as a reader takes it, the function's name, and what it is called on."""

    text: str
    function: str
    argument: str

    def squashed(self, operation: str) -> str:
        """Return the variable that a call of an operation squashes, if it is one such call."""
        return self.argument if operation in self.function.lower().strip("_") else ""


def call_of(frame: FrameType | None, torch: Path) -> Call | None:
    """Return the call in the innermost code that is not torch's, if its source is there."""
    while frame is not None and Path(frame.f_code.co_filename).is_relative_to(torch):
        frame = frame.f_back
    if frame is None:
        return None
    text = _segment(frame.f_code, frame.f_lasti, frame)
    if not text:
        return None
    try:
        node = ast.parse(f"({text})", mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(node, ast.Call):
        return Call(ast.unparse(node), "", "")
    function = getattr(node.func, "attr", getattr(node.func, "id", ""))
    first = _first(node, frame)
    argument = first.id if isinstance(first, ast.Name) else ""
    return Call(_short(node, function), function, argument)


def _first(node: ast.Call, frame: FrameType) -> ast.expr | None:
    """Return what a function is called on: o, of `torch.sigmoid(o)` and of `o.sigmoid()`."""
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        if isinstance(owner, ast.Name) and isinstance(frame.f_locals.get(owner.id), Tensor):
            return owner
    return node.args[0] if node.args else None


def _short(node: ast.Call, function: str) -> str:
    """Return a call without the modules that its function stands in."""
    arguments = ", ".join(ast.unparse(argument) for argument in node.args)
    text = f"{function}({arguments})" if function else ast.unparse(node)
    return text.replace("self.", "")


def _segment(code: CodeType, instruction: int, frame: FrameType) -> str:
    """Return the source of an instruction of some code, nothing where it is not known."""
    places = itertools.islice(code.co_positions(), instruction // 2, None)
    line, last, begin, end = next(places, (None, None, None, None))
    if line is None or last is None or begin is None or end is None:
        return ""
    lines = [
        linecache.getline(code.co_filename, number, frame.f_globals).encode()
        for number in range(line, last + 1)
    ]
    if not all(lines):
        return ""
    # Columns count bytes.
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][begin:]
    return b"".join(lines).decode(errors="replace")
