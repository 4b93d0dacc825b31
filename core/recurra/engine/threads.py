"""How many threads torch may use for a while.

Some work is not worth waiting for another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack

LIGHT = 200_000
"""Multiply-adds of a step below which a loop of torch's own products runs on one thread.

Threads that share it would wait for each other longer, and for a core that others have taken.
"""


_AS_IT_IS = nullcontext()


@contextmanager
def using(count: int) -> Iterator[None]:
    """Let torch use so many threads, and put back what there was."""
    before = torch.get_num_threads()
    if count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def single(light: bool) -> AbstractContextManager[None]:
    """Let torch use one thread, if the work is `light`."""
    return using(1) if light and torch.get_num_threads() != 1 else _AS_IT_IS


def may_be_single(x: Tensor) -> bool:
    """Tell whether a window on `x` may run on one thread: not where torch watches operations."""
    if torch.compiler.is_compiling() or type(x) is not Tensor or x.device.type != "cpu":
        return False
    return torch.get_num_threads() > 1 and peek_interpreter_stack() is None


def run_single(
    light: bool, x: Tensor, run: Callable[[Tensor], tuple[Tensor, Any]]
) -> tuple[Tensor, Any]:
    """Run a window on `x`; if it is `light` on one thread, and so its way back.

    What `run` returns begins with the outputs.
    """
    if not light:
        return run(x)
    with using(1):
        return _single_back(x, run)


def _single_back(x: Tensor, run: Callable[[Tensor], tuple[Tensor, Any]]) -> tuple[Tensor, Any]:
    """Run a window on `x`, and let its way back use one thread, as the way there does.

    The threads are put back once the gradient of `x` is there, or the whole way back is done.
    """
    if not torch.is_grad_enabled():
        return run(x)
    before: list[int] = []

    def put_back(*_: object) -> None:
        if before:
            torch.set_num_threads(before.pop())

    def begin(_: object) -> None:
        if not before and torch.get_num_threads() > 1:
            before.append(torch.get_num_threads())
            torch.set_num_threads(1)
            torch.autograd.Variable._execution_engine.queue_callback(put_back)

    if x.requires_grad:
        x = x.view_as(x)
        assert x.grad_fn is not None, "a view has a way back"
        x.grad_fn.register_prehook(put_back)
    y, rest = run(x)
    if y.grad_fn is not None:
        y.grad_fn.register_prehook(begin)
    return y, rest
