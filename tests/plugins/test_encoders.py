"""Encoders: the shape they promise, and each step's vector from that step alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra_encoders.embedding import Embedding
from recurra_encoders.identity import Identity
from recurra_encoders.linear import Linear
from recurra_encoders.one_hot import OneHot
from recurra_encoders.options import EmbeddingOptions, IdentityOptions, LinearOptions, OneHotOptions

MAKERS = {
    "one_hot": (lambda size: OneHot(size, OneHotOptions()), lambda size: size),
    "embedding": (lambda size: Embedding(size, EmbeddingOptions(size=5)), lambda size: 5),
    "linear": (lambda size: Linear(size, LinearOptions(size=5)), lambda size: 5),
    "linear without bias": (
        lambda size: Linear(size, LinearOptions(size=5, bias=False)),
        lambda size: 5,
    ),
    "identity": (lambda size: Identity(size, IdentityOptions()), lambda size: size),
}
every = pytest.mark.parametrize("kind", MAKERS)
laws = settings(deadline=None, max_examples=20)
sizes = st.tuples(st.integers(1, 4), st.integers(0, 6), st.integers(1, 5), st.integers(0, 999))


def case(kind, size):
    """Return an encoder in float64 and inputs for it."""
    batch, steps, width, seed = size
    generator = torch.Generator().manual_seed(seed)
    encoder = MAKERS[kind][0](width).double()
    if encoder.reads == ("symbols",):
        return encoder, torch.randint(width, (batch, steps), generator=generator)
    return encoder, torch.randn(batch, steps, width, generator=generator, dtype=torch.float64)


@every
@laws
@given(size=sizes)
def test_the_shape_is_the_one_promised(kind, size):
    """B T in gives B T D out, with D as `output_size` says, before anything has run."""
    encoder, x = case(kind, size)
    assert encoder.output_size == MAKERS[kind][1](size[2])
    assert encoder(x).shape == (*x.shape[:2], encoder.output_size)
    assert encoder(x).is_floating_point()


@every
@laws
@given(size=sizes, data=st.data())
def test_each_step_is_encoded_alone(kind, size, data):
    """Permuted, cut or stacked, steps and rows keep their vectors."""
    encoder, x = case(kind, size)
    whole = encoder(x)
    order = data.draw(st.permutations(range(x.shape[1])))
    torch.testing.assert_close(
        encoder(x[:, list(order)]), whole[:, list(order)], atol=1e-12, rtol=0
    )
    at = data.draw(st.integers(0, x.shape[1]))
    pieces = torch.cat([encoder(x[:, :at]), encoder(x[:, at:])], dim=1)
    torch.testing.assert_close(pieces, whole, atol=1e-12, rtol=0)
    for row in range(x.shape[0]):
        torch.testing.assert_close(encoder(x[row : row + 1])[0], whole[row], atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["linear", "linear without bias", "identity"])
def test_nan_stays_in_its_step(kind):
    """A poisoned step reaches no other step and no other row."""
    encoder, x = case(kind, (3, 4, 2, 0))
    clean = encoder(x).clone()
    x[1, 2] = torch.nan
    poisoned = encoder(x).clone()
    assert poisoned[1, 2].isnan().all()
    poisoned[1, 2] = clean[1, 2]
    assert torch.equal(poisoned, clean)


def test_one_hot_is_a_single_one():
    """Symbol i has its one at i, nothing else, and there is nothing to learn."""
    encoder, x = case("one_hot", (2, 6, 5, 1))
    y = encoder(x)
    assert torch.equal(y.argmax(dim=-1), x)
    assert torch.equal(y.sum(dim=-1), torch.ones(2, 6))
    assert set(y.unique().tolist()) == {0.0, 1.0}
    assert not list(encoder.parameters())


def test_an_embedding_is_a_row_of_its_table():
    """Symbol i becomes row i, and only the rows that were read have a gradient."""
    encoder, _ = case("embedding", (1, 1, 4, 1))
    x = torch.tensor([[2, 0, 2]])
    y = encoder(x)
    assert torch.equal(y[0], encoder.table.weight[[2, 0, 2]])
    y.sum().backward()
    assert encoder.table.weight.grad.sum(dim=1).tolist() == [5.0, 0.0, 10.0, 0.0]


def test_linear_is_a_matrix_product():
    """W x + b, and no b where the options say so."""
    for kind, bias in (("linear", True), ("linear without bias", False)):
        encoder, x = case(kind, (2, 3, 4, 1))
        wanted = torch.einsum("btf,df->btd", x, encoder.map.weight)
        assert (encoder.map.bias is not None) == bias
        torch.testing.assert_close(encoder(x), wanted + encoder.map.bias if bias else wanted)


def test_identity_gives_the_numbers_themselves():
    """Nothing is changed and nothing is learned."""
    encoder, x = case("identity", (2, 3, 4, 1))
    assert torch.equal(encoder(x), x)
    assert not list(encoder.parameters())
