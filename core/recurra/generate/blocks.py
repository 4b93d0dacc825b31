"""Symbols and numbers many at a time: a compiled loop makes them where it makes what steps would.

What it draws is the same as step by step, to the bit: it calls the kernel of the step, and draws by
one definition (`sampling.py`), which is tried once before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from sys import getrefcount
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.engine.build import Unbuildable
from recurra.engine.fused.block import NO_IDS, Made, Rule, Stops, Turn, picked
from recurra.errors import InputError, RunError
from recurra.generate import arguments
from recurra.generate.draws import PlacedDraws
from recurra.generate.foretelling import Foretelling, checked
from recurra.generate.sampling import Sampling
from recurra.model.stepper import Beginning, Kernel, Packed
from recurra.spec.tables import MOST

TRIED = (
    Sampling(),
    Sampling(repetition_penalty=1.3),
    Sampling(temperature=0.7),
    Sampling(temperature=1.5, top_k=5, top_p=0.8),
    Sampling(temperature=1e-5, min_p=0.1, repetition_penalty=0.6),
    Sampling(temperature=2.0, top_p=0.6, min_p=0.05),
)
"""Rules by which what draws in C is tried."""


def _asking() -> int:
    """Return how often who counts the holders of a field holds it himself."""
    field: Any = object()
    block = Made(0, NO_IDS, field, field, field, field, -1)
    return getrefcount(block.seen) - 5


OUTPUT_HELD, SEEN_HELD = 3 + _asking(), 2 + _asking()
"""How often a session's own tensors are held, its output twice, where nobody else holds them.

What is given to a loss is held by what is said of it, be it the same tensor or another.
"""


@dataclass(slots=True)
class Writing:
    """What a session draws one by one with: it writes to what its last draw has made."""

    kernel: Kernel
    block: Made
    sampling: Sampling
    carried: Packed
    draws: PlacedDraws
    turn: Turn | None = None  # once a second is drawn


@dataclass(slots=True)
class Feeding:
    """What a session feeds numbers back with one by one, as `Writing` has it for symbols."""

    kernel: Kernel
    block: Made
    output: Tensor
    carried: Packed
    turn: Turn | None = None  # once a second is fed back


class Blockwise(Foretelling):
    """What a session makes many at a time."""

    seen: Tensor
    # What the last step was made with, until somebody looks at what it writes to.
    _writing: Writing | None = None
    _feeding: Feeding | None = None
    # What C draws by, and for which sampling and key; the kernel, and whether its loop will do.
    _ruled: tuple[Sampling, int, Rule] | None = None
    _looked: Kernel | None = None
    _can_loop: bool = False

    def _forward(self, x: Tensor) -> None:
        raise NotImplementedError

    def _nothing(self) -> InputError:
        raise NotImplementedError

    def draw(self, sampling: Sampling) -> NDArray[np.int64]:
        """Pick the next symbol of each stream and read it; return the ids `[B]`.

        Raises `InputError` (RC080), and `RunError` (RC060) where what the network gives is not
        finite.
        """
        writing = self._writing
        if writing is not None and self._goes_on(writing, sampling):
            return self._written(writing)
        self._check_draws(sampling)
        return self._next(sampling)

    def _goes_on(self, writing: Writing, sampling: Any) -> bool:
        """Tell whether a draw may write where the last one has."""
        block = writing.block
        return (
            (sampling is writing.sampling or sampling == writing.sampling)
            and self._carried is writing.carried
            and self.output is block.output
            and self.seen is block.seen
            and self.draws is writing.draws
            and getrefcount(block.output) <= OUTPUT_HELD
            and getrefcount(block.seen) <= SEEN_HELD
            and not self.network.training
        )

    def _written(self, writing: Writing) -> NDArray[np.int64]:
        """Draw the next symbol of each stream where the last was drawn. Raises as `draw` does."""
        turn, draws = writing.turn, writing.draws
        if turn is None:
            rule = self._rule(writing.sampling, draws.key)
            assert writing.kernel.blocks is not None, "it has drawn"
            turn = writing.turn = writing.kernel.blocks.turn(writing.block, rule)
        before = turn.made
        try:
            ids = turn.draw(draws.step)
        finally:
            # It has been read also where Ctrl-C came behind it.
            if turn.made > before:
                self.position += 1
                draws.step += writing.sampling.temperature > 0
        if ids is None:
            raise self._unsound(turn.ill, "drawn")
        return ids

    def _shown(self) -> None:
        """Write no more to what somebody else may hold from now on."""
        self._writing = self._feeding = None

    def draw_many(
        self, length: int, sampling: Sampling, stop: Sequence[Sequence[int]] = ()
    ) -> Iterator[NDArray[np.int64]]:
        """Give the next symbols of each stream as they come, ids `[B]` a step, and read them.

        They are those of as many `draw`s, in a fraction of the time. It ends after `length` steps,
        or once each stream has drawn one of the sequences of ids of `stop`, that one included.
        Between two steps the session may stand a little further on; at the end, and where the
        iterator is closed before, it has read what was given and no more. Raises `InputError`
        (RC080), and `RunError` (RC060) where what the network gives is not finite, after all that
        came before.
        """
        self._check_draws(sampling)
        length = arguments.whole("length", length)
        stops = Stops([self._stop(each) for each in stop], self.streams)
        return self._drawn(length, sampling, stops)

    def _check_draws(self, sampling: Any) -> None:
        """Refuse what draws nothing. Raises `InputError` (RC080)."""
        self.elements.has("draw")
        if not isinstance(sampling, Sampling):
            fact = "a symbol is drawn as a recurra.Sampling says"
            raise InputError.of("RC080", fact, got=arguments.shown(sampling))

    def _stop(self, sequence: Any) -> list[int]:
        """Return the ids of a sequence that ends a stream. Raises `InputError` (RC080)."""
        ids = self.elements.checked(self.vocabulary, sequence)
        if not 0 < len(ids) <= MOST:
            fact = "a sequence that ends a stream is a list of one id or more"
            raise InputError.of("RC080", fact, key="stop", got=arguments.shown(sequence))
        return [int(index) for index in ids]

    def _drawn(self, length: int, sampling: Sampling, stops: Stops) -> Iterator[NDArray[np.int64]]:
        """Give the symbols of `draw_many`."""
        made = 0
        while made < length and not stops.over:
            kernel = self._loops("ids")
            if kernel is None:
                ids = self._next(sampling)
                stops.note(ids)
                made += 1
                yield ids
                continue

            if self.output is None:
                raise self._nothing()
            self._part()
            start, drawn = self._standing(), self.draws.copy()
            block = self._block(kernel, length - made, sampling, stops)
            given = 0
            try:
                for ids in block.ids:
                    given += 1
                    yield ids
            finally:
                if given < block.steps:
                    self._stand(start)
                    self.draws = drawn
                    while given:
                        given -= self._block(kernel, given, sampling, None).steps
            made += block.steps

    def forecast_many(self, length: int) -> Iterator[NDArray[np.float64]]:
        """Give the next numbers in the data's units, `[F]` a step, and read them as they come.

        They are those of as many `forecast_step`s, and as with `draw_many` the session may stand a
        little further on between two of them. Raises as `forecast_step` does.
        """
        made = 0
        while made < length:
            kernel, start = self._feeds(), self._standing()
            block = None if kernel is None else self._fed(kernel, length - made)
            if block is None:
                made += 1
                yield self.forecast_step()
                continue

            given = 0
            try:
                for scaled in block.said[:, 0].double().numpy():
                    given += 1
                    yield checked(self.stream.undo(scaled))
            finally:
                if given < block.steps:
                    self._stand(start)
                    while given and kernel is not None and (again := self._fed(kernel, given)):
                        given -= again.steps
            made += block.steps

    def _feeds(self) -> Kernel | None:
        """Return the kernel that feeds numbers back, if it can be called now.

        Raises as `forecast_step` does where nothing can be forecast.
        """
        kernel = self._loops("rows") if self.streams == 1 and self._raw is not None else None
        if kernel is not None:
            self._sound("forecast")
        return kernel

    def _fed_step(self) -> NDArray[np.float64] | None:
        """Feed the next numbers back in C; return them `[F]` in the data's own units.

        None where that fails. Raises as `forecast_step` does.
        """
        feeding = self._feeding
        if feeding is not None and self._feeds_on(feeding):
            return self._fed_on(feeding)
        kernel = self._feeds()
        block = None if kernel is None else self._fed(kernel, 1)
        if block is None or kernel is None:
            return None
        numbers = self._own(self.stream, block.said[0])
        if kernel.blocks is None or kernel.blocks.long(1):
            return numbers
        if self.output is not block.output:
            # A view of torch's own would hide who else holds one.
            features = block.output.numpy()[:, : self.vocabulary.size]
            self.output = torch.from_numpy(features)
        assert isinstance(self._carried, Packed) and self.output is not None, "it was fed so"
        self._feeding = Feeding(kernel, block, self.output, self._carried)
        return numbers

    def _feeds_on(self, feeding: Feeding) -> bool:
        """Tell whether a step may write where the last one has."""
        block = feeding.block
        alike = block.output is feeding.output
        return (
            self._carried is feeding.carried
            and self._raw is block.output
            and self.output is feeding.output
            and getrefcount(block.output) <= OUTPUT_HELD + alike
            and (alike or getrefcount(feeding.output) <= SEEN_HELD)
            and not self.network.training
        )

    def _fed_on(self, feeding: Feeding) -> NDArray[np.float64] | None:
        """Feed the next numbers back where the last were; None where that fails.

        Raises as `forecast_step` does.
        """
        turn = feeding.turn
        if turn is None:
            assert feeding.kernel.blocks is not None, "it has fed some back"
            turn = feeding.turn = feeding.kernel.blocks.turn(feeding.block, Rule())
        before, numbers = turn.made, None
        try:
            turn.make()
        finally:
            # They have been read also where Ctrl-C came behind it.
            if turn.made > before:
                self.position += 1
                numbers = self.stream.undo(turn.said[0].astype(np.float64))
        if numbers is None:
            self._shown()
            return None
        return checked(numbers)

    def _fed(self, kernel: Kernel, count: int) -> Made | None:
        """Feed up to `count` numbers back; None where what the network gives is not finite."""
        assert kernel.blocks is not None and self._carried is not None, "it can be called so"
        assert self._raw is not None, "something has been read"
        packed = self.stepper.packed(kernel, self._carried)
        block = kernel.blocks.feed(count, self._raw, packed.layers, self.vocabulary.size)
        if not block.steps:
            return None
        self._take_block(packed, block)
        self.output = self.network.point(block.output)
        return block

    def _next(self, sampling: Sampling) -> NDArray[np.int64]:
        """Draw one symbol of each stream."""
        kernel = self._loops("ids")
        if kernel is not None and self.output is not None:
            block = self._block(kernel, 1, sampling, None)
            carried, draws = self._carried, self.draws
            assert isinstance(carried, Packed) and isinstance(draws, PlacedDraws), "it was drawn so"
            # A step that may be interrupted writes to nothing that is needed.
            if kernel.blocks is not None and not kernel.blocks.long(self.streams):
                self._writing = Writing(kernel, block, sampling, carried, draws)
            return np.asarray(block.ids[0], np.int64)

        output = self._sound("drawn")
        self._part()
        drawn = self._picked(sampling, output)
        self._step(drawn)
        return np.asarray(drawn.cpu().numpy())

    def _picked(self, sampling: Sampling, output: Tensor) -> Tensor:
        """Return an id for each row of logits `[B, V]`, drawn in C where that is at hand."""
        draws = self.draws
        compiled = self.stepper.kernel is not None and _alike(output.dtype)
        if not (isinstance(draws, PlacedDraws) and compiled):
            return sampling.pick(output, self.seen, draws)
        rule = self._rule(sampling, draws.key)
        ids = torch.from_numpy(picked(rule, output, self.seen, draws.step))
        draws.step += sampling.temperature > 0
        return ids

    def _loops(self, begin: Beginning) -> Kernel | None:
        """Return the kernel of the step, if it can be called many times at once."""
        kernel = self.stepper.kernel
        if kernel is None or self.network.training:
            return None
        if kernel is not self._looked:
            self._looked, self._can_loop = kernel, self._fits(kernel)
        placed = isinstance(self.draws, PlacedDraws)
        return kernel if self._can_loop and placed and kernel.begin == begin else None

    def _fits(self, kernel: Kernel) -> bool:
        """Tell whether a kernel's loop makes what the steps of this session make."""
        network = self.network
        if kernel.blocks is None or network.late or self.outlook is not None:
            return False
        if self.companion is not None:
            return False
        if kernel.begin == "rows":
            return self._leads()
        plain = not self._has_own_point and self.vocabulary.size == network.loss.output_size
        return plain and _alike(network.dtype)

    def _leads(self) -> bool:
        """Tell whether what is fed back is what each output begins with."""
        features, width = self.vocabulary.size, self.network.loss.output_size
        generator = torch.Generator().manual_seed(0)
        scales = torch.tensor([0.0, 1e-30, 1.0, 1e30])[:, None]
        trial = scales * torch.randn(4, width, generator=generator)
        return features <= width and torch.equal(self.network.point(trial), trial[:, :features])

    def _rule(self, sampling: Sampling, key: int) -> Rule:
        """Return what C draws by."""
        if self._ruled is None or self._ruled[0] is not sampling or self._ruled[1] != key:
            self._ruled = sampling, key, sampling.rule(key)
        return self._ruled[2]

    def _block(self, kernel: Kernel, count: int, sampling: Sampling, stops: Stops | None) -> Made:
        """Draw up to `count` symbols of each stream and read them; return one at least.

        Raises `RunError` (RC060) where none can be drawn.
        """
        if self.output is None or self._carried is None:
            raise self._nothing()
        draws, blocks = self.draws, kernel.blocks
        assert isinstance(draws, PlacedDraws) and blocks is not None, "it can be called so"
        self._part()
        packed = self.stepper.packed(kernel, self._carried)
        output = self.output
        if output.shape[0] != self.streams:
            output = output.expand(self.streams, -1)
        rule = self._rule(sampling, draws.key)
        block = blocks.draw(count, output, packed.layers, self.seen, rule, draws.step, stops)
        if not block.steps:
            raise self._unsound(block.ill, "drawn")
        if sampling.temperature:
            draws.step += block.steps
        self._take_block(packed, block)
        return block

    def _take_block(self, packed: Packed, block: Made) -> None:
        """Stand behind the steps of a block."""
        self._carried = Packed(packed.encoder, block.state)
        self._raw = self.output = block.output
        self.position += block.steps
        if len(block.seen):
            self.seen = block.seen

    def _standing(self) -> tuple[Any, ...]:
        """Return where the session stands, but for its draws."""
        self._shown()
        return self._carried, self.output, self._raw, self.position, self.seen

    def _stand(self, standing: tuple[Any, ...]) -> None:
        """Stand there again."""
        self._carried, self.output, self._raw, self.position, self.seen = standing

    def _unsound(self, row: int, purpose: str) -> RunError:
        """Return the error of an output that is not finite, in a stream."""
        where = f" in stream {row} of 0 to {self.streams - 1}" if self.streams > 1 else ""
        fact = f"what the network gives is not finite{where}, so nothing can be {purpose} from it"
        return RunError.of("RC060", fact)


@cache
def _alike(dtype: torch.dtype) -> bool:
    """Tell whether what draws in C draws the same as `Sampling.pick`, for logits of a type."""
    generator = torch.Generator().manual_seed(0)
    try:
        for place, sampling in enumerate(TRIED):
            logits = 4 * torch.randn(5, 37, generator=generator, dtype=torch.float64)
            logits = logits.to(dtype)
            seen = torch.rand(5, 37, generator=generator) < 0.4
            own = picked(sampling.rule(7), logits, seen, place)
            if own.tolist() != sampling.pick(logits, seen, PlacedDraws(7, place)).tolist():
                return False
    except (Unbuildable, MemoryError):
        return False
    return True
