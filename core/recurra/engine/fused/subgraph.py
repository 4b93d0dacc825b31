"""Part of a recorded program as a Python function: what runs outside the loop of a kernel.

That is before and after it, over a whole window, or once for all of them. Of an addmm it makes

    def run(rows, v0, v1, v2):
        v3 = f0(v0, v1, v2)
        return (v3, )
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.engine.fused.record import Node, Program, Ref, values_text

Subgraph = Callable[..., tuple[Tensor, ...]]
"""A function of the number of rows and the inputs, which gives the outputs."""


aten = torch.ops.aten

CALLED: dict[Any, Callable[..., Any]] = {
    aten.mm.default: torch.mm,
    aten.addmm.default: torch.addmm,
    aten.addmm_.default: Tensor.addmm_,
    aten.bmm.default: torch.bmm,
    aten.t.default: torch.t,
    aten.view.default: Tensor.view,
    aten.sum.dim_IntList: torch.sum,
    aten.add.Tensor: torch.add,
    aten.mul.Tensor: torch.mul,
}
"""Operations by another name, under which torch finds them in half the time."""


def subgraph(
    program: Program, nodes: Iterable[Node], inputs: Sequence[int], outputs: Sequence[int]
) -> Subgraph:
    """Return a function that runs the nodes that the outputs need, on any number of rows."""
    # The function's globals: its operations, and its arguments that cannot be written as Python.
    names: dict[str, Any] = {}
    parameters = ["rows", *(f"v{index}" for index in dict.fromkeys(inputs))]
    lines = [f"def run({', '.join(parameters)}):"]
    for node in needed(nodes, outputs):
        lines.append(f"    {_statement(node, program, names)}")

    results = "".join(f"v{out}, " for out in outputs)
    lines.append(f"    return ({results})")

    exec("\n".join(lines), names)  # text made here, of operations that were recorded
    run: Subgraph = names["run"]
    return run


def needed(nodes: Iterable[Node], outputs: Iterable[int]) -> list[Node]:
    """Return the nodes that some values are made by, in their order."""
    values = set(outputs)
    chosen: list[Node] = []
    for node in reversed(list(nodes)):
        if values.intersection(node.outs):
            chosen.append(node)
            values.update(node.refs)
    return chosen[::-1]


def _statement(node: Node, program: Program, names: dict[str, Any]) -> str:
    """Return a node as Python: `v7 = f0(v4, v0)`."""
    arguments = [_argument(arg, program, names) for arg in node.args]
    for key, value in node.kwargs.items():
        arguments.append(f"{key}={_argument(value, program, names)}")

    function = _named("f", CALLED.get(node.func, node.func), names)
    outs = values_text(node.outs)
    if _many(node):
        outs += ","
    return f"{outs} = {function}({', '.join(arguments)})"


def _many(node: Node) -> bool:
    """Tell whether an operation gives a list or tuple, be it of one."""
    returns = node.func._schema.returns
    if len(returns) != 1:
        return True
    kind = str(returns[0].type)
    return "List" in kind or "[]" in kind


def _argument(arg: Any, program: Program, names: dict[str, Any]) -> str:
    """Return an argument as Python: values by their names, sizes by the rows there are."""
    if isinstance(arg, (list, tuple)):
        items = "".join(f"{_argument(item, program, names)}, " for item in arg)
        return f"[{items}]" if isinstance(arg, list) else f"({items})"
    if isinstance(arg, Ref):
        return f"v{arg.index}"
    if arg is None or isinstance(arg, bool):
        return repr(arg)
    if isinstance(arg, int):
        of_batch = arg != 0 and arg % program.rows == 0
        return f"rows * {arg // program.rows}" if of_batch else repr(arg)
    return _named("k", arg, names)


def _named(letter: str, value: Any, names: dict[str, Any]) -> str:
    """Give a value a new name; return the name."""
    name = f"{letter}{len(names)}"
    names[name] = value
    return name
