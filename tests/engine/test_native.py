"""What torch's own kernels are given on a device: weights in one piece, and products that are not
rounded.
"""

from __future__ import annotations

import pytest
import torch
from hand_made import build
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.engine import native


@given(
    kind=st.sampled_from(["lstm", "gru", "rnn_tanh"]),
    inputs=st.integers(1, 5),
    hidden=st.integers(1, 5),
)
@settings(max_examples=12, deadline=None)
def test_joined_weights_are_the_weights_in_one_piece_of_memory(kind, inputs, hidden):
    """Each follows the one before it, and neither a result nor a gradient changes by a bit."""
    cell = build(kind, inputs, hidden)
    weights = cell.native().weights
    joined = native._joined(weights)

    place = joined[0].data_ptr()
    for one, weight in zip(joined, weights, strict=True):
        assert torch.equal(one, weight) and one.is_contiguous()
        assert one.data_ptr() == place
        place += one.numel() * one.element_size()

    x, start = (
        torch.randn(2, 3, inputs, dtype=joined[0].dtype),
        torch.zeros(1, 2, hidden, dtype=joined[0].dtype),
    )
    first = [start, start] if kind == "lstm" else start
    kernel = native.KERNELS[cell.native().kernel]
    found = []
    for given_weights in (joined, list(weights)):
        y = kernel(x, first, given_weights, True, 1, 0.0, True, False, True)[0]
        found.append([y, *torch.autograd.grad(y.square().sum(), weights)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("products", ["highest", "high"])
@pytest.mark.parametrize("before", [True, False])
def test_cudnn_rounds_as_torchs_own_products_are_rounded(before, products, monkeypatch):
    """Whatever was set for it; and after an error it is as it was."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", before)
    torch.set_float32_matmul_precision(products)
    try:
        with pytest.raises(KeyError), native.exact():
            assert torch.backends.cudnn.allow_tf32 is (products == "high")
            with native.exact():
                pass
            assert torch.backends.cudnn.allow_tf32 is (products == "high")
            raise KeyError
        assert torch.backends.cudnn.allow_tf32 is before
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "rnn"), reason="this torch has no newer names for it"
)
def test_who_has_set_the_newer_names_is_not_disturbed():
    """torch raises where both are mixed: what stands there is then left alone."""
    rnn = torch.backends.cudnn.rnn
    before, rnn.fp32_precision = rnn.fp32_precision, "ieee"
    try:
        with native.exact():
            assert rnn.fp32_precision == "ieee"
    finally:
        rnn.fp32_precision = before
    assert torch.backends.cudnn.allow_tf32 is True
