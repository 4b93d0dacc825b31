"""What a check of an encoder is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.contracts.encoder import Encoder, StatefulEncoder
from recurra.engine.recurrence import State
from recurra.testing.answers import demand, tensor
from recurra.testing.subjects.reader import SIZE, Reader, Reads
from recurra.testing.subjects.subject import SEED


class EncoderSubject(Reader[Encoder[Any]]):
    """An encoder under one set of options."""

    def encoder(
        self, size: int = SIZE, dtype: torch.dtype = torch.float64, seed: int = SEED
    ) -> Encoder[Any]:
        """Return the encoder in evaluation mode."""
        return self.built(size, dtype, seed)

    def x(
        self,
        kind: Reads,
        batch: int = 3,
        steps: int = 7,
        size: int = SIZE,
        dtype: torch.dtype = torch.float64,
        salt: int = 0,
    ) -> Tensor:
        """Return ids `[B, T]`, or numbers `[B, T, F]` drawn from N(0, 1)."""
        return self.drawn(kind, (batch, steps), size, dtype, salt)

    @staticmethod
    def fresh(encoder: Encoder[Any], x: Tensor, position: Tensor | None = None) -> State:
        """Return the state before the first step, at `position` `[B]`.

        An encoder of single steps has none.
        """
        if not isinstance(encoder, StatefulEncoder):
            return ()

        # Ids have no type of numbers: the state then is of the type of the weights.
        default = next((p.dtype for p in encoder.parameters()), torch.get_default_dtype())
        dtype = x.dtype if x.is_floating_point() else default

        state: State = encoder.initial_state(
            x.shape[0], device=x.device, dtype=dtype, position=position
        )
        sound = isinstance(state, tuple) and all(
            isinstance(field, Tensor) and len(field) == len(x) for field in state
        )
        demand(sound, "initial_state gives no NamedTuple of tensors [B, ...]")
        return state

    def run(
        self,
        encoder: Encoder[Any],
        x: Tensor,
        state: State | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Return vectors `[B, T, D]` and the state after them, of a copy of `x`.

        The encoder is called as the network calls it.
        """
        x = x.clone(memory_format=torch.contiguous_format)
        if not isinstance(encoder, StatefulEncoder):
            return tensor(encoder(x), "what forward gives"), ()

        # Whoever gives no state begins with the initial one.
        start = self.fresh(encoder, x) if state is None else state
        answer = encoder.advance(x, start, reset=reset)
        pair = isinstance(answer, tuple) and len(answer) == 2
        demand(pair, "advance gives no pair (vectors, state)")
        y, after = answer
        return tensor(y, "what advance gives"), after
