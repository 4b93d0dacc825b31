"""A GPU that is pretended on the CPU: its tensors do not mix with others, and each look at one is
counted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("cuda:0")
ATEN = torch.ops.aten
COPIES = {ATEN.copy_.default, ATEN._foreach_copy_.default}
"""What takes numbers from one device to another."""
INDEXED = {ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default}
"""What a device does by indices of the CPU as well."""
LOOKS = {
    ATEN._local_scalar_dense.default, ATEN.nonzero.default, ATEN.masked_select.default,
    ATEN.equal.default,
}  # fmt: skip
"""What waits until the device has come to it."""


CAREFUL = (functional.one_hot,)
"""What looks at its numbers on a CPU, and on no GPU."""
MOVES = (Tensor.to, Tensor.cpu, Tensor.cuda)


class Pretended:
    """Which tensors lie on the device, by their memory, and from where they were looked at."""

    def __init__(self) -> None:
        # They are held, so that no other comes to lie where one was.
        self.held: dict[int, torch.UntypedStorage] = {}
        self.looks: list[str] = []
        # Whether what torch itself makes now, of no tensor, lies there.
        self.inside = True

    def has(self, tensor: Tensor) -> bool:
        """Tell whether a tensor lies there."""
        return tensor.untyped_storage()._cdata in self.held

    def take(self, value: Any) -> Any:
        """Say that all the tensors of a value lie there."""
        for each in _tensors(value):
            storage = each.untyped_storage()
            self.held[storage._cdata] = storage
        return value

    def look(self) -> None:
        """Note a look, by the line of the innermost code of recurra's own."""
        frame = sys._getframe(1)
        while frame.f_back and not frame.f_globals.get("__name__", "").startswith("recurra"):
            frame = frame.f_back
        self.looks.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")


class _Operations(TorchDispatchMode):
    """Refuses what mixes devices, as a GPU does."""

    def __init__(self, device: Pretended) -> None:
        super().__init__()
        self.device = device

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say so that the compiler, which nothing here needs, is not imported."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _tensors((args, kwargs or {}))
        there = [self.device.has(each) for each in given]
        if not any(there):
            result = func(*args, **(kwargs or {}))
            return result if given or not self.device.inside else self.device.take(result)
        if func in LOOKS or (func in INDEXED and _by_mask(args[1], self.device)):
            self.device.look()
        alone = [each for each, is_there in zip(given, there, strict=True) if not is_there]
        free = func in COPIES or (func in INDEXED and there[0])
        if not free and any(each.dim() for each in alone):
            shapes = [list(each.shape) for each in alone]
            raise RuntimeError(f"{func}: tensors {shapes} are not on the device of the others")
        result = func(*args, **(kwargs or {}))
        return result if func in COPIES else self.device.take(result)


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors of a value."""
    if isinstance(value, Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    nested = isinstance(value, list | tuple | dict)
    return [tensor for each in values for tensor in _tensors(each)] if nested else []


def _by_mask(indices: Any, device: Pretended) -> bool:
    """Tell whether some indices are a mask of the device's."""
    masks = [each for each in indices if each is not None and each.dtype == torch.bool]
    return any(map(device.has, masks))


class _Calls(TorchFunctionMode):
    """Answers, of tensors that lie there, what a GPU's would."""

    def __init__(self, device: Pretended) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        of = args[0] if args and isinstance(args[0], Tensor) else None
        there = of is not None and self.device.has(of)
        if func is torch.device or getattr(func, "__name__", "") == "_parse_to":
            return func(*args, **kwargs)
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return DEVICE if there else func(*args)
        if func == Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return there
        if there and func in (Tensor.numpy, Tensor.__array__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if there and func is Tensor.tolist:
            self.device.look()

        to = self._asked(func, args, kwargs)
        given = _tensors((args, kwargs))
        args = [_on_cpu(each) for each in args]
        kwargs = {name: _on_cpu(each) for name, each in kwargs.items()}
        before, self.device.inside = self.device.inside, any(map(self.device.has, given))
        looks = len(self.device.looks)
        try:
            result = func(*args, **kwargs) if func is not Tensor.cuda else of
        finally:
            self.device.inside = before
        if func in CAREFUL:
            del self.device.looks[looks:]
        if to is None:
            return result
        if func in MOVES:
            return self._moved(of, result, to)
        return self.device.take(result) if to == DEVICE.type else result

    def _asked(self, func: Any, args: Any, kwargs: Any) -> str | None:
        """Return the kind of device on which a call wants what it gives, if it says so."""
        if func in (Tensor.cpu, Tensor.cuda):
            return func.__name__
        for each in (*args, *kwargs.values()) if func is Tensor.to else (kwargs.get("device"),):
            if isinstance(each, str | torch.device):
                return torch.device(each).type
        for each in args[1:] if func is Tensor.to else ():
            if isinstance(each, Tensor):
                return DEVICE.type if self.device.has(each) else "cpu"
        return None

    def _moved(self, tensor: Tensor, result: Tensor, to: str) -> Tensor:
        """Return a result of `tensor` where it was asked to be."""
        if (to == DEVICE.type) == self.device.has(tensor):
            return result
        if to == DEVICE.type:
            there: Tensor = self.device.take(result.clone())
            return there
        self.device.look()
        copy = result.clone()
        self.device.held.pop(copy.untyped_storage()._cdata, None)
        return copy


def _on_cpu(each: Any) -> Any:
    if isinstance(each, torch.device) and each.type == "cuda":
        return torch.device("cpu")
    return "cpu" if isinstance(each, str) and each.startswith("cuda") else each


class _Generator(torch.Generator):
    """One of the CPU, whatever device it is asked for."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        return super().__new__(cls)


@contextmanager
def pretended() -> Iterator[Pretended]:
    """Let torch have one GPU meanwhile, and give it."""
    device = Pretended()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "Generator", _Generator)
        for name, value in {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "get_device_name": lambda device=None: "a GPU that is pretended",
            "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
            "set_rng_state": lambda state, device=None: None,
            "manual_seed": lambda seed: None,
            "synchronize": lambda device=None: None,
            "is_current_stream_capturing": lambda: False,
            "device": lambda device: nullcontext(),
        }.items():
            patch.setattr(torch.cuda, name, value)
        with _Operations(device), _Calls(device):
            yield device
