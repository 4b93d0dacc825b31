"""Checks of what an encoder shares: a weight with the head, and its table with the first cell."""

from __future__ import annotations

from typing import Any

import torch

from recurra.contracts.encoder import Encoder
from recurra.testing.answers import demand, tensor
from recurra.testing.check import check
from recurra.testing.subjects.encoder import EncoderSubject


@check("E14", "what the head shares is its own weight", "encoder", firm=True, since="1.1")
def shared(subject: EncoderSubject) -> None:
    """`head_weight` gives None, or a parameter of the encoder `[size, output_size]`, each time the
    same one, after it was copied or brought to another type as well.

    The head computes with it, and the optimizer updates it once: a copy would be trained by the
    head alone and saved by nobody. To mend it: return the parameter itself.
    """
    encoder = subject.encoder()
    if encoder.head_weight() is None:
        demand(encoder.float().head_weight() is None, "in another type it shares a weight")
        return

    for made in (encoder, subject.encoder(size=1), subject.encoder(dtype=torch.float32)):
        weight = tensor(made.head_weight(), "what head_weight gives")
        own = any(weight is parameter for parameter in made.parameters())
        demand(own, "head_weight gives what is no parameter of the encoder")
        expected = [made.size, made.output_size]
        fact = f"head_weight is {list(weight.shape)}, not [size, output_size] = {expected}"
        demand(list(weight.shape) == expected, fact)
        demand(made.head_weight() is weight, "head_weight gives another weight each time")


@check("E15", "the table is what steps are looked up in", "encoder", firm=True, since="1.1")
def table(subject: EncoderSubject) -> None:
    """`symbol_vectors` gives None, or the vectors `[size, output_size]` of all symbols, so that
    those of ids `x` are `symbol_vectors()[x]`, with the same gradients, while it trains as well.

    The first cell may be given the table, and `forward` is then not called: what else it does would
    be lost. To mend it: give no table, or the one that `forward` looks up in.
    """
    for made in (subject.encoder(), subject.encoder(size=1)):
        for training in (False, True):
            made.train(training)
            if made.symbol_vectors() is None:
                continue
            _is_table(made)


def _is_table(made: Encoder[Any]) -> None:
    """Raise `Broken` unless the table of an encoder gives what `forward` gives."""
    x = torch.arange(2 * made.size).remainder(made.size).view(2, made.size)
    vectors = tensor(made.symbol_vectors(), "what symbol_vectors gives")
    expected = [made.size, made.output_size]
    fact = f"symbol_vectors is {list(vectors.shape)}, not [size, output_size] = {expected}"
    demand(list(vectors.shape) == expected, fact)

    given = made(x)
    weights = [weight for weight in made.parameters() if weight.requires_grad]
    demand(torch.equal(vectors[x], given), "symbol_vectors()[x] is not what forward gives")
    demand(vectors.requires_grad == given.requires_grad, "one of table and forward has no gradient")
    if not given.requires_grad:
        return
    factors = torch.arange(given.numel(), dtype=given.dtype).view_as(given).sin()
    pairs = zip(
        torch.autograd.grad((vectors[x] * factors).sum(), weights, materialize_grads=True),
        torch.autograd.grad((given * factors).sum(), weights, materialize_grads=True),
        strict=True,
    )
    same = all(torch.allclose(one, other) for one, other in pairs)
    demand(same, "symbol_vectors has other gradients than forward")
