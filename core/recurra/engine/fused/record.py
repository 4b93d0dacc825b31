"""Recording what a function does to tensors.

The record is a straight line of operations of aten, each on values known by number. The function
runs on a batch whose size no other axis can be taken for, so that every axis tells by its size
whether it is the batch. Gradients are recorded as well where `torch.autograd.grad` runs under the
trace. Printed, a program has a
line for each operation:

    v10 [B, 24] = addmm(v5, v0, v3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recurra.engine.onlooker import Onlooker

aten = torch.ops.aten

PRIMES = (101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157)
"""Sizes of the batch of a recording, of which one is taken that divides no width."""


def batch_beside(widths: Iterable[int]) -> int:
    """Return a batch size that no width, nor the sum of two, is a multiple of."""
    sizes = {0, *widths}
    sums = {a + b for a in sizes for b in sizes}
    sums.discard(0)
    for prime in PRIMES:
        if all(size % prime for size in sums):
            return prime
    return PRIMES[0]


class Unsupported(Exception):
    """What stands in the way of a kernel, in words that follow the name of the cell and a colon."""


@dataclass(frozen=True)
class Ref:
    """The value of that number."""

    index: int


@dataclass(frozen=True)
class Node:
    """One operation of a program.

    Its arguments hold `Ref`s where tensors stood; `outs` are the numbers of the values it gives.
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
        _collect(self.args, refs)
        _collect(tuple(self.kwargs.values()), refs)
        return refs

    def call(self, rows: int) -> str:
        """Return the operation as a program is printed, sizes of a batch of `rows` rows as B."""
        arguments = [_argument_text(arg, rows) for arg in self.args]
        for key, value in self.kwargs.items():
            if value is not None:
                arguments.append(f"{key}={_argument_text(value, rows)}")

        name = self.name.removeprefix("aten.")
        return f"{name}({', '.join(arguments)})"


def _argument_text(arg: Any, rows: int) -> str:
    """Return an argument as a program is printed."""
    if isinstance(arg, Ref):
        return f"v{arg.index}"
    if isinstance(arg, Tensor):
        return f"tensor{list(arg.shape)}"
    if isinstance(arg, (tuple, list)):
        items = [_argument_text(item, rows) for item in arg]
        return f"[{', '.join(items)}]"
    if isinstance(arg, int) and not isinstance(arg, bool):
        return _size_text(arg, rows)
    return str(arg).removeprefix("torch.")


def _size_text(size: int, rows: int) -> str:
    """Return a size as users write it: in batches, where it is a multiple of one."""
    if not size or size % rows:
        return str(size)
    return "B" if size == rows else f"{size // rows}B"


def type_text(dtype: torch.dtype) -> str:
    """Return a type as users write it: `float32`."""
    return str(dtype).removeprefix("torch.")


def values_text(values: Iterable[int]) -> str:
    """Return values by their names: `v3, v10`."""
    return ", ".join(f"v{value}" for value in values)


def _collect(tree: Any, refs: list[int]) -> None:
    """Append the number of each value that a tree of arguments holds."""
    if isinstance(tree, Ref):
        refs.append(tree.index)
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            _collect(part, refs)


def _mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """Return a tree of arguments with each leaf changed."""
    if isinstance(tree, (tuple, list)):
        return type(tree)(_mapped(part, change) for part in tree)
    return change(tree)


@dataclass
class Program:
    """What was recorded: the nodes in order, and the shape and type of every value.

    `rows` is the size of the batch.
    """

    rows: int
    nodes: list[Node] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    dtypes: list[torch.dtype] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(map(self.line, self.nodes))

    def line(self, node: Node) -> str:
        """Return a node as a line: each value that it gives, with its shape, and how."""
        outs = [self.value_text(out) for out in node.outs]
        return f"{', '.join(outs)} = {node.call(self.rows)}"

    def value(self, like: Tensor) -> int:
        """Add the value of a tensor; return its number. Raises `Unsupported` if it mixes rows."""
        index = self.add(tuple(like.shape), like.dtype)

        # [B, B] compares rows with one another, and [4B, 2] folds the batch into another axis.
        batches = [size for size in like.shape if size and size % self.rows == 0]
        folded = any(size != self.rows for size in batches)
        if len(batches) > 1 or folded:
            raise Unsupported(f"a value of shape {self.shape_text(index)} mixes rows of the batch")
        return index

    def copy(self) -> Program:
        """Return a program that holds the same, to which more can be added."""
        return Program(self.rows, [*self.nodes], [*self.shapes], [*self.dtypes])

    def add(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Add a value of a shape and type; return its number."""
        self.shapes.append(shape)
        self.dtypes.append(dtype)
        return len(self.shapes) - 1

    def shape_text(self, index: int) -> str:
        """Return the shape of a value as users write it: `[B, 24]`."""
        sizes = [_size_text(size, self.rows) for size in self.shapes[index]]
        return f"[{', '.join(sizes)}]"

    def value_text(self, index: int) -> str:
        """Return a value and its shape: `v10 [B, 24]`."""
        return f"v{index} {self.shape_text(index)}"

    def batch(self, index: int) -> int | None:
        """Return which axis of a value is the batch, if any."""
        shape = self.shapes[index]
        return shape.index(self.rows) if self.rows in shape else None

    def has_batch(self, index: int) -> bool:
        """Tell whether a value has a batch axis."""
        return self.rows in self.shapes[index]

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


class Trace(Onlooker):
    """Records every operation of aten into a program while it is entered.

    `replaced` says operations in terms of others. With `cuts`, a `detach` is recorded too: a
    gradient ends there.
    """

    def __init__(
        self, rows: int, replaced: Mapping[Any, Callable[..., Any]], cuts: bool = False
    ) -> None:
        super().__init__()
        self.program = Program(rows)
        self.replaced = replaced
        self.cuts = cuts
        self._numbers: dict[_Key, int] = {}
        # A storage that is let go of could come back as that of another tensor.
        self._alive: list[Tensor] = []

    def input(self, tensor: Tensor) -> int:
        """Make a tensor known as an input; return its number."""
        return self._note(tensor)

    def number(self, tensor: Tensor) -> int:
        """Return the number of a tensor. Raises `Unsupported` for one that came from nowhere."""
        number = self._numbers.get(_key(tensor))
        if number is None:
            raise Unsupported(
                "it reads a tensor that is neither its input, its state, a parameter nor a buffer"
            )
        return number

    def _note(self, tensor: Tensor) -> int:
        """Give a tensor the number of a new value, unless it has one; return its number."""
        index = self.program.value(tensor)
        self._alive.append(tensor)
        return self._numbers.setdefault(_key(tensor), index)

    def _add(self, func: Any, args: tuple[Any, ...], out: Tensor) -> None:
        """Add a node that gives one tensor."""
        node = Node(func, args, {}, (self._note(out),))
        self.program.nodes.append(node)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and write it down."""
        kwargs = kwargs or {}
        if func in self.replaced:
            with self:
                return self.replaced[func](*args, **kwargs)

        if torch.Tag.nondeterministic_seeded in func.tags:
            raise Unsupported(f"it draws random numbers ({func.overloadpacket})")
        if func._schema.is_mutable:
            return self._overwrite(func, args, kwargs)
        if func.overloadpacket in (aten.detach, aten.alias):
            return self._detach(func, args, kwargs)

        # `torch.tensor(0.5)` in a step comes as a lift_fresh of a tensor made outside the trace.
        if func is aten.lift_fresh.default and _key(args[0]) not in self._numbers:
            return self._constant(args[0])
        return self._operation(func, args, kwargs)

    def _operation(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation that only reads, and write it down."""
        # The numbers of the arguments are looked up before the call, whose outputs add numbers.
        ref_args = _mapped(tuple(args), self._ref)
        ref_kwargs = {key: _mapped(value, self._ref) for key, value in kwargs.items()}

        result = func(*args, **kwargs)
        outs = result if isinstance(result, (tuple, list)) else (result,)
        if not all(isinstance(out, Tensor) for out in outs):
            raise Unsupported(f"it looks at a value ({func.overloadpacket})")

        numbers = tuple(self._fresh(out) for out in outs)
        self.program.nodes.append(Node(func, ref_args, ref_kwargs, numbers))
        return result

    def _detach(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a `detach`: the same storage, and so the same value, unless cuts are recorded."""
        if not self.cuts:
            return func(*args, **kwargs)
        cut = args[0].clone()
        self._add(func, (self._ref(args[0]),), cut)
        return cut

    def _constant(self, tensor: Tensor) -> Tensor:
        """Write down a tensor that a step makes of Python's numbers."""
        self._add(aten.clone.default, (tensor.clone(),), tensor)
        return tensor

    def _overwrite(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Write down an operation in place: its tensor has a new value from here on."""
        target: Tensor = args[0]
        storage = target.untyped_storage()._cdata
        views = [key.storage for key in self._numbers].count(storage)

        # Another view of the storage would change as well, and keep the number it has.
        pure = _without_writing(func)
        if pure is None or views != 1 or _key(target) not in self._numbers:
            raise Unsupported(
                f"it writes into a tensor that it has other views of ({func.overloadpacket})"
            )

        with self:
            result = pure(*args, **kwargs)
        self._numbers[_key(target)] = self.number(result)
        return target.copy_(result)

    def _ref(self, leaf: Any) -> Any:
        return Ref(self.number(leaf)) if isinstance(leaf, Tensor) else leaf

    def _fresh(self, out: Tensor) -> int:
        """Number what an operation gave; a view that is all of its base is the base."""
        if _key(out) in self._numbers:
            return self.program.value(out)
        return self._note(out)


def _without_writing(func: Any) -> Callable[..., Tensor] | None:
    """Return the operation that gives what one in place writes, if there is any: `add`."""
    if func is aten.copy_.default:
        return _copied

    name = func.overloadpacket.__name__
    if name[-1] != "_":
        return None
    packet = getattr(aten, name[:-1], None)
    pure: Callable[..., Tensor] | None = getattr(packet, func._overloadname, None)
    return pure


def _copied(target: Tensor, source: Tensor, *_: Any) -> Tensor:
    """Return what a copy gives; `aten.copy`, which says it, has no gradient."""
    wide = source.expand(target.shape)
    copy: Tensor = aten._to_copy.default(wide, dtype=target.dtype)
    return copy


class _Key(NamedTuple):
    """What tells a tensor from others: two with equal keys are the same numbers in memory."""

    storage: int
    offset: int | torch.SymInt
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


def _key(tensor: Tensor) -> _Key:
    storage = tensor.untyped_storage()._cdata
    shape = tuple(tensor.shape)
    return _Key(storage, tensor.storage_offset(), shape, tensor.stride(), tensor.dtype)
