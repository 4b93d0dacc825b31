"""Part of a recorded program as a Python function, for what runs outside the loop: over a whole
window, or once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from recurra.engine.fused.record import Node, Program, Ref

Subgraph = Callable[..., tuple[Tensor, ...]]
"""Called with the number of rows and the inputs; gives the outputs."""


def subgraph(
    program: Program, nodes: Iterable[Node], inputs: Sequence[int], outputs: Sequence[int]
) -> Subgraph:
    """Return a function that runs those of the nodes that the outputs need, on any number of
    rows.
    """
    needed = set(outputs)
    chosen: list[Node] = []
    for node in reversed(list(nodes)):
        if needed.intersection(node.outs):
            chosen.insert(0, node)
            needed.update(node.refs)

    names: dict[str, Any] = {}
    lines = [f"def run(rows, {', '.join(f'v{index}' for index in dict.fromkeys(inputs))}):"]
    for node in chosen:
        arguments = [_argument(arg, program, names) for arg in node.args]
        arguments += [
            f"{key}={_argument(value, program, names)}" for key, value in node.kwargs.items()
        ]
        names[f"f{len(names)}"] = node.func
        outs = ", ".join(f"v{out}" for out in node.outs)
        lines.append(
            f"    {outs}{',' if _many(node) else ''} = f{len(names) - 1}({', '.join(arguments)})"
        )
    lines.append(f"    return ({''.join(f'v{out}, ' for out in outputs)})")

    exec("\n".join(lines), names)  # text made here, of operations that were recorded
    run: Subgraph = names["run"]
    return run


def _many(node: Node) -> bool:
    """Tell whether an operation gives a list or tuple, be it of one."""
    returns = node.func._schema.returns
    return len(returns) != 1 or "List" in str(returns[0].type) or "[]" in str(returns[0].type)


def _argument(arg: Any, program: Program, names: dict[str, Any]) -> str:
    """Return an argument as Python: values by their names, sizes by the rows there are."""
    if isinstance(arg, (list, tuple)):
        items = "".join(f"{_argument(item, program, names)}, " for item in arg)
        return f"[{items}]" if isinstance(arg, list) else f"({items})"
    if isinstance(arg, Ref):
        return f"v{arg.index}"
    if isinstance(arg, int) and not isinstance(arg, bool) and arg and arg % program.rows == 0:
        return f"rows * {arg // program.rows}"
    if arg is None or isinstance(arg, (bool, int)):
        return repr(arg)
    names[f"k{len(names)}"] = arg
    return f"k{len(names) - 1}"
