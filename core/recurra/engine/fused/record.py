"""Recording what a function does to tensors: straight-line operations of aten, each on values known
by number.

The function runs on a batch whose size no other axis can be taken for, so that every axis tells by
its size whether it is the batch. Gradients are recorded as well where `torch.autograd.grad` runs
under the trace. Printed, a program has a line for each operation:

    v10 [B, 24] = addmm(v5, v0, v3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PRIMES = (101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157)
"""Sizes of the batch of a recording, of which one is taken that divides no width."""


def batch_beside(widths: Iterable[int]) -> int:
    """Return a batch size that no width, nor the sum of two, is a multiple of."""
    sizes = {0, *widths}
    sums = {a + b for a in sizes for b in sizes} - {0}
    return next((prime for prime in PRIMES if all(size % prime for size in sums)), PRIMES[0])


class Unsupported(Exception):
    """What stands in the way of a kernel, in words that follow the name of the cell and a colon."""


@dataclass(frozen=True)
class Ref:
    """The value of that number."""

    index: int


@dataclass(frozen=True)
class Node:
    """One operation: its arguments hold `Ref`s where tensors stood; `outs` are the numbers of what
    it gives.
    """

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outs: tuple[int, ...]

    @property
    def name(self) -> str:
        """The operation without its overload: `aten.add`."""
        return str(self.func.overloadpacket)

    @property
    def refs(self) -> list[int]:
        """The numbers of the values that it reads."""
        refs: list[int] = []
        _visit((self.args, tuple(self.kwargs.values())), refs.append)
        return refs

    def call(self, rows: int) -> str:
        """Return the operation as a program is printed; sizes of a batch of so many rows are said
        as B.
        """
        arguments = [_written(arg, rows) for arg in self.args]
        named = ((key, value) for key, value in self.kwargs.items() if value is not None)
        arguments += [f"{key}={_written(value, rows)}" for key, value in named]
        return f"{self.name.removeprefix('aten.')}({', '.join(arguments)})"


def _written(arg: Any, rows: int) -> str:
    """Return an argument as a program is printed."""
    if isinstance(arg, Ref):
        return f"v{arg.index}"
    if isinstance(arg, Tensor):
        return f"tensor{list(arg.shape)}"
    if isinstance(arg, (tuple, list)):
        return f"[{', '.join(_written(part, rows) for part in arg)}]"
    if isinstance(arg, int) and not isinstance(arg, bool):
        return _size(arg, rows)
    return str(arg).removeprefix("torch.")


def _size(size: int, rows: int) -> str:
    """Return a size as users write it: in batches, where it is a multiple of one."""
    if not size or size % rows:
        return str(size)
    return "B" if size == rows else f"{size // rows}B"


def _visit(tree: Any, seen: Callable[[int], None]) -> None:
    if isinstance(tree, Ref):
        seen(tree.index)
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            _visit(part, seen)


def swapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """Return a tree of arguments with each leaf changed."""
    if isinstance(tree, (tuple, list)):
        return type(tree)(swapped(part, change) for part in tree)
    return change(tree)


@dataclass
class Program:
    """What was recorded: nodes in order, and the shape and type of every value; `rows` is the size
    of the batch.
    """

    rows: int
    nodes: list[Node] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    dtypes: list[torch.dtype] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(map(self.line, self.nodes))

    def line(self, node: Node) -> str:
        """Return a node as a line: each value that it gives, with its shape, and how."""
        outs = ", ".join(f"v{out} {self.said(out)}" for out in node.outs)
        return f"{outs} = {node.call(self.rows)}"

    def value(self, like: Tensor) -> int:
        """Add a value; return its number."""
        self.shapes.append(tuple(like.shape))
        self.dtypes.append(like.dtype)
        if sum(s == self.rows for s in like.shape) > 1 or any(
            s > self.rows and not s % self.rows for s in like.shape
        ):
            raise Unsupported(
                f"a value of shape {self.said(len(self.shapes) - 1)} mixes rows of the batch"
            )
        return len(self.shapes) - 1

    def copied(self) -> Program:
        """Return a program that holds the same, to which more can be added."""
        return Program(self.rows, [*self.nodes], [*self.shapes], [*self.dtypes])

    def add(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Add a value of a shape and type; return its number."""
        self.shapes.append(shape)
        self.dtypes.append(dtype)
        return len(self.shapes) - 1

    def said(self, index: int) -> str:
        """Return the shape of a value as users write it."""
        return f"[{', '.join(_size(size, self.rows) for size in self.shapes[index])}]"

    def batch(self, index: int) -> int | None:
        """Return which axis of a value is the batch, if any."""
        shape = self.shapes[index]
        return shape.index(self.rows) if self.rows in shape else None

    def makers(self) -> dict[int, Node]:
        """Return the node that each value comes from."""
        return {out: node for node in self.nodes for out in node.outs}

    def reaches(self, sources: Iterable[int]) -> set[int]:
        """Return the values that depend on any of some values, themselves included."""
        reached = set(sources)
        for node in self.nodes:
            if reached.intersection(node.refs):
                reached.update(node.outs)
        return reached

    def needs(self, values: Iterable[int]) -> set[int]:
        """Return all values that some values are made of, themselves included."""
        needed = set(values)
        for node in reversed(self.nodes):
            if needed.intersection(node.outs):
                needed.update(node.refs)
        return needed


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every operation of aten into a program while it is entered.

    `replaced` says operations in terms of others. With `cuts`, a `detach` is recorded too: a
    gradient ends there.
    """

    def __init__(
        self, rows: int, replaced: dict[Any, Callable[..., Any]], cuts: bool = False
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.program = Program(rows)
        self.replaced = replaced
        self.cuts = cuts
        self._known: dict[Any, int] = {}
        self._alive: list[Tensor] = []  # a storage that is let go could come back as another's

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing its compiler, which takes seconds, for the first operation on a
        trace.
        """
        return False

    def input(self, tensor: Tensor) -> int:
        """Make a tensor known as an input; return its number."""
        return self._note(tensor)

    def number(self, tensor: Tensor) -> int:
        """Return the number of a tensor. Raises `Unsupported` for one that came from nowhere."""
        number = self._known.get(_key(tensor))
        if number is None:
            raise Unsupported(
                "it reads a tensor that is neither its input, its state, a parameter nor a buffer"
            )
        return number

    def _note(self, tensor: Tensor) -> int:
        index = self.program.value(tensor)
        self._known.setdefault(_key(tensor), index)
        self._alive.append(tensor)
        return self._known[_key(tensor)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and write it down."""
        kwargs = kwargs or {}
        if func in self.replaced:
            with self:
                return self.replaced[func](*args, **kwargs)
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise Unsupported(f"it draws random numbers ({func.overloadpacket})")
        if func._schema.is_mutable:
            return self._overwritten(func, args, kwargs)
        if func.overloadpacket in (torch.ops.aten.detach, torch.ops.aten.alias):
            if not self.cuts:
                return func(*args, **kwargs)  # the same storage: the same value
            cut = args[0].clone()
            self.program.nodes.append(Node(func, (self._ref(args[0]),), {}, (self._note(cut),)))
            return cut
        if func is torch.ops.aten.lift_fresh.default and _key(args[0]) not in self._known:
            # torch.tensor(0.5)
            return self._constant(args[0])
        told = (
            swapped(tuple(args), self._ref),
            {key: swapped(value, self._ref) for key, value in kwargs.items()},
        )
        given = func(*args, **kwargs)
        outs = given if isinstance(given, (tuple, list)) else (given,)
        if not all(isinstance(out, Tensor) for out in outs):
            raise Unsupported(f"it looks at a value ({func.overloadpacket})")
        self.program.nodes.append(Node(func, *told, tuple(self._fresh(out) for out in outs)))
        return given

    def _constant(self, tensor: Tensor) -> Tensor:
        """Write down a tensor that a step makes of Python's numbers."""
        node = Node(torch.ops.aten.clone.default, (tensor.clone(),), {}, (self._note(tensor),))
        self.program.nodes.append(node)
        return tensor

    def _overwritten(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Write down what an operation in place gives, as a new value that its tensor has from here
        on.
        """
        name = func.overloadpacket.__name__
        pure = (
            getattr(getattr(torch.ops.aten, name[:-1], None), func._overloadname, None)
            if name[-1] == "_"
            else None
        )
        if func is torch.ops.aten.copy_.default:
            pure = _copied
        target: Tensor = args[0]
        storage = target.untyped_storage()._cdata
        if (
            pure is None
            or [key[0] for key in self._known].count(storage) != 1
            or _key(target) not in self._known
        ):
            raise Unsupported(
                f"it writes into a tensor that it has other views of ({func.overloadpacket})"
            )
        with self:
            given = pure(*args, **kwargs)
        self._known[_key(target)] = self.number(given)
        return target.copy_(given)

    def _ref(self, leaf: Any) -> Any:
        return Ref(self.number(leaf)) if isinstance(leaf, Tensor) else leaf

    def _fresh(self, out: Tensor) -> int:
        """Number what an operation gave; a view that is all of its base is the base."""
        known = self._known.get(_key(out))
        return self._note(out) if known is None else self.program.value(out)


def _copied(target: Tensor, source: Tensor, *_: Any) -> Tensor:
    """Return what a copy gives; `aten.copy`, which says it, has no gradient."""
    given: Tensor = torch.ops.aten._to_copy.default(source.expand(target.shape), dtype=target.dtype)
    return given


def _key(tensor: Tensor) -> Any:
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype
