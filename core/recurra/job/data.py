"""The data of a task: read, fitted, split, and cut into the batches of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.source import Source
from recurra.contracts.vocabulary import Vocabulary
from recurra.data import intake
from recurra.data.batches import Feed, Lanes, Reader, Windows
from recurra.data.splits import Split, SplitName, place_of, split
from recurra.data.store import Store, build
from recurra.errors import InputError
from recurra.generate.session import GIVE_KNOWN, SKIPPED, encoded, holds_any
from recurra.model import device as devices
from recurra.resolve import Resolved
from recurra.spec import checking
from recurra.train.baselines import series_scale
from recurra.train.metrics import Scale

BLOCK = 1 << 16
"""Elements that a vocabulary of numbers is fitted on at a time."""
HEAD = 32
"""Symbols of the corpus that generation goes on from where no prompt is given."""
TAIL = 1024
"""Steps of a series that generation goes on from where no prompt is given, and symbols that it reads to be warm."""


@dataclass(frozen=True)
class Data:
    """A task's data, ready to be cut into batches."""

    source: Source[Any]
    vocabulary: Vocabulary[Any]
    store: Store
    splits: dict[SplitName, Split]
    reader: Reader
    feed: Feed
    scale: Scale | None = None
    """By what errors of numbers are measured, a column each."""

    def held_out(self) -> SplitName:
        """Return the split that the final figures are about: test, else validation, else train."""
        order: tuple[SplitName, ...] = ("test", "validation")
        return next((name for name in order if self.splits[name].steps), "train")

    def opening_position(self) -> int:
        """Return where in its sequence the opening begins."""
        numbers = self.vocabulary.yields == "numbers"
        return max(0, int(self.store.ends[-1] - self.store.starts[-1]) - TAIL) if numbers else 0

    def names(self) -> list[str]:
        """Return the names of the symbols in the order of their ids, or of the features."""
        if self.vocabulary.yields == "numbers":
            return self.source.features()
        return [self.vocabulary.symbol(index) for index in range(self.vocabulary.size)]

    def opening(self) -> Any:
        """Return what generation goes on from without a prompt: the first symbols, or the last steps of a series."""
        begin = self.store.starts[-1 if self.vocabulary.yields == "numbers" else 0]
        end = self.store.ends[-1 if self.vocabulary.yields == "numbers" else 0]
        if self.vocabulary.yields == "numbers":
            return np.asarray(self.store.values[max(begin, end - TAIL) : end]).tolist()
        return np.asarray(self.store.values[begin : min(end, begin + HEAD)]).tolist()

    def ending(self) -> dict[str, Any]:
        """Return the symbols that training ends with, and where in their sequence they begin; nothing for numbers.

        They end with a line, if there is one: what follows, a prompt, rarely goes on in the middle of a word.
        """
        if self.vocabulary.yields == "numbers":
            return {}  # whose opening is an end
        train = self.splits["train"]
        begin, end = int(train.begin[-1]), int(train.high[-1])
        start = max(begin, end - TAIL)
        symbols = np.asarray(self.store.values[start:end])
        lines = [index for index in range(len(symbols)) if "\n" in self.vocabulary.text(symbols[index : index + 1])]
        whole = symbols[: lines[-1] + 1 if lines else None]
        return {"ending": whole.tolist(), "ending_position": start - begin}

    def summary(self) -> dict[str, Any]:
        """Return what data.json holds."""
        return {
            "fingerprint": self.store.fingerprint,
            "elements": len(self.store),
            "sequences": len(self.store.starts),
            "splits": {name: part.elements for name, part in self.splits.items()},
            "features": self.source.features(),
            "opening": self.opening(),
            "opening_position": self.opening_position(),
            **self.ending(),
        }


def load_data(resolved: Resolved, check: Callable[[Store], None] = lambda store: None) -> Data:
    """Read the source, `check` what it gave, and cut it as the task says.

    Raises `InputError` (RC040 to RC043, RC080).
    """
    task = resolved.task
    with resolved.placing():
        source: Source[Any] = resolved.parts["source"].build()
        vocabulary: Vocabulary[Any] = resolved.parts["vocabulary"].build()
        owners = [resolved.parts[name].entry for name in ("source", "vocabulary")]
        identity = " ".join(f"{e.qualified}@{e.plugin.version}" for e in owners)
        names = owners[0].qualified, owners[1].qualified
        store = build(source, vocabulary, identity=identity, owners=names)
        check(store)
        splits = split(store, task.sequence)
        scale = None
        if vocabulary.yields == "numbers":
            _fit(resolved, vocabulary, store, splits)
            scale = series_scale(store, splits["train"], task.sequence.season)
        reader = Reader(store, vocabulary.encode, devices.DTYPES[task.device.precision])
        data = Data(source, vocabulary, store, splits, reader, _feed(resolved, reader, splits["train"]), scale)
        _check_splits(resolved, data)
        check_prompt(resolved, vocabulary)
    return data


def _fit(resolved: Resolved, vocabulary: Vocabulary[Any], store: Store, splits: dict[SplitName, Split]) -> None:
    """Fit a vocabulary of numbers on the training split. Raises `InputError` that names the rows it refuses."""
    part = resolved.parts["vocabulary"]
    last: list[tuple[int, NDArray[Any]]] = [(0, store.values[:0])]  # the block that it is looking at

    def blocks() -> Iterator[NDArray[Any]]:
        for last[0] in _blocks(store, splits["train"]):
            yield last[0][1]

    try:
        vocabulary.fit(blocks())
    except InputError as error:
        start, block = last[0]
        found = intake.refused(
            lambda row: part.build().fit([row]), block, lambda at: place_of(store, splits, start + at)
        )
        raise found or error from error
    size = intake.size(vocabulary, part.entry.qualified)
    if size != store.values.shape[1]:
        fact = f"size is {size} after rows of {store.values.shape[1]} numbers"
        raise intake.broken(part.entry.qualified, fact)
    intake.learned(vocabulary, part.entry.qualified)


def _blocks(store: Store, part: Split) -> Iterator[tuple[int, NDArray[Any]]]:
    """Give the elements of a split in blocks, and where each begins: a mapped corpus never comes into memory whole."""
    for low, high in zip(part.low, part.high, strict=True):
        for start in range(int(low), int(high), BLOCK):
            yield start, np.asarray(store.values[start : min(start + BLOCK, int(high))])


def _feed(resolved: Resolved, reader: Reader, train: Split) -> Feed:
    """Return the batches of training. Raises `InputError` (RC041) that does the arithmetic where there are too few."""
    sequence, batch = resolved.task.sequence, resolved.task.training.batch_size
    if not train.steps:
        fact = f"the training split holds {train.elements} elements in {len(train)} sequences: nothing can be predicted"
        raise InputError.of(
            "RC041", fact, key="sequence.split", cure="a window needs an input and a target: 2 elements"
        )
    if sequence.carry:
        have, need = train.elements, batch * sequence.length + 1
        if have < need:
            fact = (
                f"the training split holds {have} elements, and one batch takes {need}: "
                f"batch_size {batch} x length {sequence.length} + 1"
            )
            fitting = {"batch_size": (have - 1) // sequence.length, "length": (have - 1) // batch}
            either = [f"{name} <= {most}" for name, most in fitting.items() if most]
            cure = ", or ".join(either) or f"batch_size = 1 and length <= {have - 1}"
            raise InputError.of("RC041", fact, key="training.batch_size", cure=cure)
        return Lanes.of(reader, train, sequence.length, batch, sequence.restart, resolved.task.seed)
    windows = Windows.of(reader, train, sequence.length, sequence.stride, batch, resolved.task.seed)
    if windows.count < batch:
        fact = (
            f"the training split gives {windows.count} windows of up to {sequence.length} steps "
            f"({train.elements} elements in {len(train)} sequences), and one batch takes {batch}"
        )
        cure = f"batch_size <= {windows.count}, or a shorter sequence.length or stride"
        raise InputError.of("RC041", fact, key="training.batch_size", cure=cure)
    return windows


def _check_splits(resolved: Resolved, data: Data) -> None:
    for name, share in zip(data.splits, resolved.task.sequence.split, strict=True):
        part = data.splits[name]
        if share and not part.steps:
            total = f"{len(data.store)} elements in {len(data.store.starts)} sequences"
            fact = f"the {name} split, {share:g} of {total}, holds {part.elements} elements: nothing can be predicted"
            raise InputError.of("RC041", fact, key="sequence.split", cure="give it a larger share, or 0")


def check_prompt(resolved: Resolved, vocabulary: Vocabulary[Any]) -> None:
    """Check the task's prompt. Raises `InputError` (RC043, RC080)."""
    prompt, generation = resolved.task.generation.prompt, resolved.task.generation
    if generation.warm and generation.position:
        fact = "with warm = true the prompt stands after what is read first, so position must be left out"
        raise InputError.of("RC014", fact, key="generation.position", got=str(generation.position))
    if prompt is None:
        return
    key = "generation.prompt"
    numeric = not isinstance(prompt, str) and not any(isinstance(item, str) for item in prompt)
    if numeric != (vocabulary.yields == "numbers") and prompt != []:
        kind = "a list of numbers" if vocabulary.yields == "numbers" else "text"
        raise InputError.of("RC080", f"the prompt must be {kind} here", key=key, got=checking.literal(prompt))
    if not len(encoded(vocabulary, prompt)):
        if holds_any(vocabulary, prompt):
            raise InputError.of("RC080", SKIPPED, key=key, got=checking.literal(prompt), cure=GIVE_KNOWN)
        raise InputError.of(
            "RC080", "the prompt is empty, so nothing can follow", key=key, cure="give one element or more"
        )
