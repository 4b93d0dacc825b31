"""The check of a weight that an encoder shares with the head."""

from __future__ import annotations

import torch

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
