"""Blocks of memory that windows leave for each other."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recurra.catalog import discover
from recurra.engine.blocks import BLOCKS, LEAST, Blocks

SIZES = st.integers(1, 3 * LEAST)
LIKE = {dtype: torch.empty(0, dtype=dtype) for dtype in (torch.float32, torch.float64)}


@given(st.lists(st.tuples(SIZES, st.sampled_from([*LIKE]), st.integers(0, 5)), max_size=25))
def test_nothing_is_lent_twice_and_no_more_is_held_than_was_needed(
    asked: list[tuple[int, torch.dtype, int]],
) -> None:
    """Each tensor keeps its numbers until it ends, whatever is asked for meanwhile."""
    blocks = Blocks()
    held: list[tuple[Tensor, int]] = []
    for number, (size, dtype, ended) in enumerate(asked):
        like = LIKE[dtype]
        tensor = blocks.empty(like, size // like.element_size(), 1)
        assert tensor.shape == (size // like.element_size(), 1)
        assert tensor.dtype == dtype and tensor.is_contiguous()
        held.append((tensor.fill_(number), number))
        del tensor

        assert all(bool((each == value).all()) for each, value in held)
        del held[ended : ended + 2]
        free = sum(map(len, blocks.free))
        assert blocks.lent + free <= blocks.most

    held.clear()
    assert blocks.lent == 0
    blocks.clear()
    assert not blocks.free and blocks.most == 0


@pytest.mark.parametrize("of_it", [lambda t: t[5:9], lambda t: t.detach(), lambda t: t.numpy()])
def test_a_block_is_lent_until_its_last_view_ends(of_it: Any) -> None:
    """It comes back then, and the next who asks for as much has the same."""
    blocks = Blocks()
    like = LIKE[torch.float32]
    tensor = blocks.empty(like, LEAST)
    address = tensor.data_ptr()
    view = of_it(tensor)
    del tensor
    assert blocks.empty(like, LEAST).data_ptr() != address

    del view
    assert address in {block.data_ptr() for block in blocks.free}
    assert blocks.lent == 0


def test_threads_are_lent_blocks_of_their_own() -> None:
    """Whoever asks at once gets different ones, and what ends in another thread comes back."""
    blocks, faults = Blocks(), []

    def work(number: int) -> None:
        for turn in range(60):
            tensors = [blocks.empty(LIKE[torch.float32], LEAST + turn) for _ in range(3)]
            for index, tensor in enumerate(tensors):
                tensor.fill_(10 * number + index)
            for index, tensor in enumerate(tensors):
                if not bool((tensor == 10 * number + index).all()):
                    faults.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert blocks.lent == 0


def test_two_windows_at_a_time_have_their_own() -> None:
    """What the way back reads is what its own way there has written."""
    gru = discover().find("cell", "gru")
    made = gru.target(32, gru.options(hidden_size=256))
    made.path = "fused"
    x = [torch.randn(4, 128, 32).requires_grad_() for _ in range(2)]

    alone = []
    for each in x:
        y, _ = made(each)
        alone.append(torch.autograd.grad(y.sum(), [each, *made.parameters()]))
        del y

    before = BLOCKS.lent
    outs = [made(each)[0] for each in x]
    assert BLOCKS.lent > before
    for each, y, expected in zip(x, outs, alone, strict=True):
        found = torch.autograd.grad(y.sum(), [each, *made.parameters()])
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    del outs, y, found
    assert BLOCKS.lent == before
