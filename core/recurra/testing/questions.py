"""What targets are asked about: sequences made by hand, with answers, and a network for them.

Everything is small, in float64, and always the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recurra.contracts.cell import Cell
from recurra.contracts.encoder import Encoder
from recurra.contracts.loss import Loss
from recurra.contracts.metric import Metrics, Scale
from recurra.contracts.options import CellOptions, Options
from recurra.contracts.source import OF_STEPS, Role
from recurra.contracts.target import Elements, Target
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.batches import Reader
from recurra.data.companions import Companions
from recurra.data.labels import Labels
from recurra.data.marks import Marked, Marks
from recurra.data.outlook import Outlook, outlook_of
from recurra.data.segments import groups
from recurra.data.splits import Split
from recurra.data.store import CODE, Store, tagged
from recurra.model.completion import completions
from recurra.model.network import Network
from recurra.model.scoring import Scoring
from recurra.randomness import seeded
from recurra.shapes import Encoded, Inputs
from recurra.testing.beside import drawn_beside, known_beside
from recurra.testing.subjects.subject import SEED
from recurra.train.evaluate import answered, evaluate
from recurra.train.metrics import Tally

SYMBOLS = ("a", "b", "c", "d", "e")
CLASSES = ("no", "perhaps", "yes")
"""What sequences are made of, and what is said of them: not as many, so that none is mistaken."""
TAGS = ("B-x", "I-x", "O")
"""What is said of each element, where that is asked: tags that mark spans."""
LENGTHS = (1, 2, 9, 3, 14, 4, 1, 12, 2)
"""Elements of the sequences: neither sorted nor alike, and some of a single one."""
SHORT = 5
"""Steps of a window that cuts most of them."""
SHIFT, SPREAD = 3.0, 2.0
"""How numbers are scaled: what is 5 in the data is 1 for the network."""
SEASON = 2
"""Steps of a season of what is asked."""
SURE = 50.0
"""The logit of a class that is as good as certain."""


class Letters(Labels):
    """The symbols of a sequence."""

    unit: ClassVar[str] = "symbol"


class Numbers(Vocabulary[Options]):
    """Numbers, scaled by what is known beforehand."""

    reads = "numbers"
    yields = "numbers"
    unit = "number"

    def __init__(self, width: int) -> None:
        super().__init__(Options())
        self.width = width

    @property
    def size(self) -> int:
        """The number of columns."""
        return self.width

    def fit(self, runs: Iterable[Any]) -> None:
        """Learn nothing."""

    def encode(self, values: Any) -> NDArray[Any]:
        """Return scaled numbers `[n, F]`."""
        return np.asarray((np.asarray(values, np.float64) - SHIFT) / SPREAD)

    def decode(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Return numbers in their own units."""
        return np.asarray(np.asarray(ids, np.float64) * SPREAD + SHIFT)

    def save(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take nothing back."""


class Trace(NamedTuple):
    """What is left of all inputs so far, `[B, H]`."""

    h: Tensor


class Fading(Cell[CellOptions]):
    """h' = h / 2 + tanh(W x): a cell that a check can be sure of."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.of_input = nn.Linear(input_size, options.hidden_size)
        self.path = "eager"

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Trace:
        """Return zeros."""
        return Trace(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))

    def step(self, x_t: Tensor, state: Trace) -> tuple[Tensor, Trace]:
        """Return the next trace, which is the output as well."""
        h = state.h / 2 + torch.tanh(self.of_input(x_t))
        return h, Trace(h)


class Plain(Encoder[Options]):
    """Symbols one by one, numbers as they are."""

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("symbols", "numbers")

    def __init__(self, size: int, options: Options) -> None:
        super().__init__(size, options)
        self.output_size = size

    def forward(self, x: Inputs) -> Encoded:
        """Return vectors `[B, T, D]`."""
        return x if x.is_floating_point() else functional.one_hot(x, self.size).double()


class Misses(Loss[Options]):
    """-log p of symbols, squared error of numbers."""

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("symbols", "numbers")

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return `[N]`."""
        if target.is_floating_point():
            return (output - target).square().mean(dim=-1)
        return functional.cross_entropy(output, target, reduction="none")


@dataclass(frozen=True)
class Case:
    """Sequences that a network reads, symbols or numbers, and what is asked of them.

    `labels` are what is said of whole sequences, where that is asked: ids `[n]`, or scaled numbers
    `[n, F]`. `asked` is where the answer to each sequence begins, where it follows. Where each
    element is asked for its tag, `labels` are the ids of all tags `[K]`. Of a target that looks
    several steps ahead covariates are known of each step, those `beside` if they are given.
    """

    reads: Elements
    vocabulary: Vocabulary[Any]
    answers: Vocabulary[Any]
    store: Store
    labels: NDArray[Any] | None
    asked: NDArray[np.int64] | None = None
    beside: NDArray[np.float64] | None = None

    @property
    def kind(self) -> Elements:
        """What the answers are."""
        return self.answers.yields

    @property
    def columns(self) -> int:
        """How many columns of numbers are answered."""
        return self.answers.size if self.kind == "numbers" else 1

    @property
    def scale(self) -> Scale | None:
        """By what errors of numbers are measured."""
        own = self.labels is None and self.kind == "numbers"
        return np.ones(self.answers.size) if own else None

    @property
    def codes(self) -> Store | None:
        """Which tag each element has, where that is asked."""
        return None if self.store.tags is None else self.store.tags.codes

    def outlook(self, target: Target[Any]) -> Outlook | None:
        """Return what the answers of a target are that looks several elements ahead."""
        return outlook_of(target, self.vocabulary, SEASON)

    def reader(self, target: Target[Any]) -> Reader:
        """Return what cuts the windows of the sequences."""
        return Reader(
            store=self.store,
            encode=self.vocabulary.encode,
            dtype=torch.float64,
            reach=target.reach,
            labels=self.labels,
            codes=self.codes,
            chosen=target.scored,
            outlook=self.outlook(target),
            companions=self.companions(target),
        )

    def companions(self, target: Target[Any]) -> Companions | None:
        """Return what is known beforehand of the steps, if the target looks ahead of them."""
        if not target.ahead:
            return None
        rows = drawn_beside(len(self.store)) if self.beside is None else self.beside
        return known_beside(self.store, rows, Numbers(1), target.ahead)

    def split(self, target: Target[Any], rows: Sequence[int] | None = None) -> Split:
        """Return all sequences, or some, as a split."""
        chosen = np.arange(len(self.store.starts)) if rows is None else np.array(rows)
        first = self.store.starts[chosen]
        whole = target.scope == "sequence"
        low = first if self.asked is None else self.asked[chosen]
        uncut = self.asked is not None
        return Split(
            low=low,
            high=self.store.ends[chosen],
            begin=first,
            reach=target.reach,
            whole=whole,
            uncut=uncut,
            at_once=target.at_once,
            ahead=target.ahead,
            last=target.last_origin,
        )

    def network(self, target: Target[Any]) -> Network:
        """Return a small network for what is asked."""
        companions = self.companions(target)
        known = None if companions is None else companions.vocabulary
        width, coming = (known.width, known.coming) if known else (0, 0)
        with seeded(SEED, "init"):
            encoder = Plain(self.vocabulary.size + width, Options())
            cell = Fading(encoder.output_size, CellOptions(hidden_size=6))
            pooled = target.pooling if target.scope == "sequence" else None
            loss = Misses(self.answers.size, Options())
            decoder = None
            if target.ahead and target.decoder == "cell":
                decoder = Fading(cell.output_size + coming, CellOptions(hidden_size=6))
            network = Network(encoder, [cell], loss, pooled, target.ahead, coming, decoder)
            for weight in network.parameters():  # what begins at 0 too
                nn.init.normal_(weight, std=0.5)
        return network.typed(torch.float64).eval()

    def answered_otherwise(self) -> Case:
        """Return the same sequences where every one has another answer, which nothing has read.

        Of sequences whose elements are the answers, that is another last element.
        """
        values, labels = self.store.values.copy(), self.labels
        if labels is not None:
            classes = self.kind == "symbols"
            labels = (labels + 1) % self.answers.size if classes else labels + 1.0
        elif self.kind == "symbols":
            values[self.store.ends - 1] = (values[self.store.ends - 1] + 1) % self.answers.size
        else:
            values[self.store.ends - 1] += 1.0
        starts, columns = self.store.starts, self.store.columns
        store = Store(values, starts, "", columns=columns, tags=self.store.tags)
        return replace(self, store=store, labels=labels)

    def answer(self, number: int) -> Tensor:
        """Return one of the answers that follow sequences, as many as ids: each is another."""
        marks = marks_of(self)
        symbol, longer = number % marks.begin, number // marks.begin
        return torch.tensor([symbol] * (1 + longer) + [marks.end])


def case(reads: Elements, asks: Role, width: int = 2, answers: Elements = "symbols") -> Case:
    """Return sequences of symbols or of columns of numbers, whose elements or labels are asked.

    So are tags, one for each element.

    Labels are classes, or `width` numbers, which are the `answers` to sequences.
    """
    draw = np.random.Generator(np.random.Philox(3))
    total = sum(LENGTHS)
    ends = np.cumsum(LENGTHS)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)

    if asks == "answer" and reads == "symbols":
        return _followed(draw)
    values: NDArray[Any] = draw.integers(0, len(SYMBOLS), total)
    vocabulary: Vocabulary[Any] = Letters(SYMBOLS)
    if reads == "numbers":
        columns = width if asks in ("input", "answer") else 2
        values, vocabulary = draw.normal(6, 1, (total, columns)), Numbers(columns)
    if asks in ("input", "answer"):
        return Case(reads, vocabulary, vocabulary, Store(values, starts, ""), None)

    if answers == "numbers":
        quantities = Numbers(width)
        labels = draw.normal(0, 1, (len(LENGTHS), width))
        texts = [" ".join(map(repr, row)) for row in quantities.decode(labels).tolist()]
        store = Store(values, starts, "", columns={asks: texts})
        return Case(reads, vocabulary, quantities, store, labels)

    if asks in OF_STEPS:
        codes = draw.integers(0, len(TAGS), total).astype(CODE)
        store = Store(values, starts, "", tags=tagged(codes, starts, list(TAGS)))
        return Case(reads, vocabulary, Labels(TAGS), store, np.arange(len(TAGS)))

    ids = np.arange(len(LENGTHS), dtype=np.int64) * 2 % len(CLASSES)
    names = [CLASSES[label] for label in ids.tolist()]
    store = Store(values, starts, "", columns={asks: names})
    return Case(reads, vocabulary, Labels(CLASSES), store, ids)


def _followed(draw: np.random.Generator) -> Case:
    """Return sequences of symbols with answers behind them; some of either are empty."""
    answers = Marked(Letters(SYMBOLS))
    parts = []
    for index, length in enumerate(LENGTHS):
        prompt = draw.integers(0, len(SYMBOLS), length - 1)
        answer = draw.integers(0, len(SYMBOLS), index % 4)
        parts.append(np.concatenate([prompt, answers.marks.around(answer)]))

    ends = np.cumsum([len(part) for part in parts])
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    store = Store(np.concatenate(parts), starts, "")
    return Case("symbols", answers, answers, store, None, answers.marks.first_asked(store))


def marks_of(case: Case) -> Marks:
    """Return the marks around answers that follow."""
    assert isinstance(case.answers, Marked), "answers follow sequences"
    return case.answers.marks


def given(
    case: Case, target: Target[Any], network: Network, rows: int, order: Sequence[int]
) -> list[list[int]]:
    """Return what the network answers by itself to each prompt, asked in an order."""
    assert case.asked is not None, "answers follow sequences"
    spans = list(zip(case.store.starts.tolist(), case.asked.tolist(), strict=True))
    prompts = [case.store.values[spans[row][0] : spans[row][1] - 1] for row in order]
    limit = target.at_most(max(LENGTHS))
    answers = completions(network, prompts, marks_of(case), limit, rows=rows)
    by_row = dict(zip(order, answers, strict=True))
    return [by_row[row].tolist() for row in range(len(spans))]


class Recorded(Tally):
    """Sums that keep the outputs they were given."""

    def __init__(self, target: Target[Any], case: Case) -> None:
        outlook = case.outlook(target)
        undoing = None if outlook is None else outlook.own
        super().__init__(target, case.answers, case.scale, undoing)
        self.outputs: list[Tensor] = []

    def add(
        self,
        output: Tensor,
        target: Tensor,
        loss: Loss[Any] | Scoring,
        undo: Tensor | None = None,
        places: Tensor | None = None,
    ) -> None:
        """Add scored answers, and keep the outputs."""
        super().add(output, target, loss, undo, places)
        self.outputs.append(output.detach().clone())

    def sorted(self) -> Tensor:
        """Return every number of the outputs, in whatever order they came."""
        return torch.cat([part.reshape(-1) for part in self.outputs]).sort().values


def measured(
    case: Case,
    target: Target[Any],
    network: Network,
    rows: int = 64,
    window: int = 0,
    only: Sequence[int] | None = None,
) -> Recorded:
    """Return what is measured of all sequences, or some, by the core's own evaluation."""
    tally = Recorded(target, case)
    split = case.split(target, only)
    evaluate(network, case.reader(target), split, tally, rows=rows, window=window)
    return tally


def fill(tally: Tally, case: Case, loss: Loss[Any], output: Tensor, answers: Tensor) -> None:
    """Add scored answers, and where they follow sequences as many that were given freely."""
    tally.add(output, answers, loss)
    if case.asked is not None:
        for said, came in freely(case, output, answers):
            tally.add_answer(said, came)


def freely(case: Case, output: Tensor, answers: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Give what was said and what came, as answers that follow, for outputs and ids `[N]`."""
    said = output.argmax(dim=-1).tolist()
    for number, right in zip(said, answers.tolist(), strict=True):
        yield case.answer(number), case.answer(right)


def outputs(case: Case, target: Target[Any], network: Network) -> list[Tensor]:
    """Return what the network gives for every step of all windows, or for every whole sequence."""
    reader, split = case.reader(target), case.split(target)
    if split.whole:
        return [output for _, output in answered(network, reader, split)]
    return list(_steps(reader, split, network))


def _steps(reader: Reader, split: Split, network: Network) -> Iterator[Tensor]:
    """Give the outputs of every window, its state carried to the next."""
    for group in groups(reader, split, window=SHORT):
        states = None
        for batch in group:
            with torch.no_grad():
                hidden, states = network.hidden(batch.x, states, position=batch.position)
                output = network.answer(hidden, batch.ahead())
            yield output


def drawn(case: Case, count: int, salt: int = 0) -> tuple[Tensor, Tensor]:
    """Return outputs `[N, V]` or `[N, F]` drawn from N(0, 1), and answers: each class comes."""
    draw = torch.Generator().manual_seed(SEED + 1000 * salt + 1)
    size = case.answers.size
    output = torch.randn(count, size, generator=draw, dtype=torch.float64)
    if case.kind == "numbers":
        return output, torch.randn(count, size, generator=draw, dtype=torch.float64)
    return output, torch.randperm(count, generator=draw) % size


def placed(count: int, ahead: int = 0) -> Tensor:
    """Return places `[count, 2]` of steps of several sequences: which sequence, and which step.

    Where several elements `ahead` answer a step they are `[count, 3]`.
    """
    lengths = torch.tensor(LENGTHS)
    first = lengths.cumsum(0) - lengths
    sequence = torch.repeat_interleave(first, lengths)
    step = torch.arange(len(sequence)) - sequence
    places = torch.stack([sequence, step], dim=1)[:count]
    if not ahead:
        return places
    return torch.cat([places, torch.arange(count)[:, None] % ahead + 1], dim=1)


def perfect(case: Case, answers: Tensor) -> Tensor:
    """Return the outputs that say just this."""
    if case.kind == "numbers":
        return answers.clone()
    return functional.one_hot(answers, case.answers.size).double() * SURE


def relative(actual: Metrics, expected: Metrics) -> float:
    """Return the greatest difference of figures, over max(1, the expected)."""
    gaps = [abs(actual[name] - value) / max(1.0, abs(value)) for name, value in expected.items()]
    return max((gap if gap == gap else float("inf") for gap in gaps), default=0.0)
