"""The data of a task: read, fitted, split, and cut into the batches of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.metric import Scale
from recurra.contracts.source import Role, Source
from recurra.contracts.target import Examples, Target
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.answers import Answers, answered, can_be_given
from recurra.data.batches import Feed, Lanes, Reader, Sequences, Windows
from recurra.data.chain import Chain, in_training, transformed
from recurra.data.corpus import build
from recurra.data.segments import groups
from recurra.data.splits import Split, SplitName, place_of, split
from recurra.data.store import Store
from recurra.errors import InputError
from recurra.generate.elements import GIVE_KNOWN, SKIPPED, encoded, holds_any
from recurra.job.elements import ELEMENTS, Elements
from recurra.model import device as devices
from recurra.resolved import Resolved
from recurra.spec import checking
from recurra.train.metrics import Tally


@dataclass(frozen=True)
class Data:
    """A task's data, ready to be cut into batches."""

    source: Source[Any]
    vocabulary: Vocabulary[Any]
    store: Store
    splits: dict[SplitName, Split]
    reader: Reader
    feed: Feed
    target: Target[Any]
    answers: Vocabulary[Any]
    """What the answers are of: the vocabulary itself, or the classes of a column."""
    scale: Scale | None = None
    """By what errors of numbers are measured, a column each."""
    season: int = 0
    chain: Chain | None = None
    """What numbers go through behind their scale, if anything."""

    @property
    def elements(self) -> Elements:
        """What differs between symbols and numbers that are read."""
        return ELEMENTS[self.vocabulary.yields]

    @property
    def answer_elements(self) -> Elements:
        """What differs between symbols and numbers that are answered."""
        return ELEMENTS[self.answers.yields]

    @property
    def lag(self) -> int:
        """How many elements at the beginning of a sequence have no value, and can answer
        nothing.
        """
        return self.chain.lag if self.chain else 0

    @property
    def by_series(self) -> bool:
        """Whether each series has a scale of its own."""
        return self.chain is not None and self.chain.by_series

    def tally(self) -> Tally:
        """Return sums of nothing, for what is measured of the answers."""
        own = self.chain if self.answers is self.vocabulary else None
        return Tally(self.target, self.answers, self.scale, own)

    def examples(self, name: SplitName) -> Examples:
        """Return a split as a baseline sees it: the part of it that figures are made of."""
        return examples(
            self.vocabulary,
            self.reader,
            self.splits[name],
            self.answers,
            self.season,
            self.scale,
        )

    def held_out(self) -> SplitName:
        """Return the split that the final figures are about: test, else validation, else train."""
        order: tuple[SplitName, ...] = ("test", "validation")
        return next((name for name in order if self.splits[name].steps), "train")

    def opening_position(self) -> int:
        """Return where in its sequence the opening begins."""
        begin, _ = self.elements.opening(self.store, self.lag)
        return begin - int(self.store.begin(np.array([begin]))[0])

    def counts(self) -> tuple[list[str], NDArray[np.int64]]:
        """Return the names of the answers that are symbols, and how often each comes in training,
        or its first part.
        """
        held, size = self.examples("train"), self.answers.size
        parts = held.sequences()
        if held.answers is not None:
            parts = iter([held.answers[can_be_given(held.answers)]])
        counts = np.zeros(size, np.int64)
        for part in parts:
            counts += np.bincount(part, minlength=size)
        return self.answer_elements.names(self.source, self.answers), counts

    def unseen(self, name: SplitName) -> list[str]:
        """Return the labels of a split that training has not shown, a name for each sequence that
        has one.
        """
        if self.reader.labels is None:
            return []
        rows = self.store.sequence(self.splits[name].begin)
        labels = self.store.columns[self.target.asks]
        known = can_be_given(self.reader.labels)
        return [labels[row] for row in rows.tolist() if not known[row]]

    def names(self) -> list[str]:
        """Return the names of the symbols in the order of their ids, or of the features."""
        return self.elements.names(self.source, self.vocabulary)

    def opening(self) -> Any:
        """Return what generation goes on from without a prompt: the first symbols, or the last
        steps of a series.
        """
        begin, end = self.elements.opening(self.store, self.lag)
        return np.asarray(self.store.values[begin:end]).tolist()

    def summary(self) -> dict[str, Any]:
        """Return what data.json holds."""
        return {
            "fingerprint": self.store.fingerprint,
            "elements": len(self.store),
            "sequences": len(self.store.starts),
            "splits": {name: part.elements for name, part in self.splits.items()},
            "features": self.source.features(),
            **(self.answers.record() if isinstance(self.answers, Answers) else {}),
            **self._generated_from(),
        }

    def _generated_from(self) -> dict[str, Any]:
        """Return what generation goes on from without a prompt, where there is any."""
        if not self.target.generates:
            return {}
        return {
            "opening": self.opening(),
            "opening_position": self.opening_position(),
            **self.elements.ending(self),
        }


def examples(
    vocabulary: Vocabulary[Any],
    reader: Reader,
    part: Split,
    answers: Vocabulary[Any],
    season: int = 0,
    scale: Scale | None = None,
) -> Examples:
    """Return a split as a baseline sees it: the part of it that figures are made of."""
    part, store = part.scored(), reader.store
    of_sequences = None
    if reader.labels is not None:
        of_sequences = reader.labels[store.sequence(part.begin)]
        if isinstance(answers, Answers):
            of_sequences = answers.plain(of_sequences)
    return Examples(
        vocabulary.yields,
        store.values,
        part.low,
        part.high,
        part.begin,
        vocabulary.size,
        answers.size,
        of_sequences,
        season,
        scale,
        part.lag,
    )


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
        target, season = resolved.target, task.sequence.season
        asked: tuple[Role, ...] = () if target.asks == "input" else (target.asks,)
        own = asked + (("fold",) if "fold" in resolved.roles else ())
        store = build(source, vocabulary, identity=identity, owners=names, roles=own)
        check(store)
        splits = split(
            store,
            task.sequence,
            target.reach,
            target.scope == "sequence",
            by_class=ELEMENTS[target.answers].by_class,
        )
        chain = ELEMENTS[vocabulary.yields].fit(resolved, vocabulary, store, splits)
        target.prepare(ELEMENTS[vocabulary.yields].names(source, vocabulary))
        answers, labels = _answers(target, vocabulary, store, splits["train"])
        dtype = devices.DTYPES[task.device.precision]
        reader = Reader(store, vocabulary.encode, dtype, target.reach, labels, target.scored)
        if chain:
            reader, splits = _transformed(resolved, chain, reader, splits)
        learned = examples(vocabulary, reader, splits["train"], answers, season)
        scale = ELEMENTS[answers.yields].scale(learned) if target.asks == "input" else None
        feed = _feed(resolved, reader, splits["train"])
        data = Data(
            source, vocabulary, store, splits, reader, feed, target, answers, scale, season, chain
        )
        _check_splits(resolved, data)
        if target.generates:
            check_prompt(resolved, vocabulary)
    return data


def _answers(
    target: Target[Any], vocabulary: Vocabulary[Any], store: Store, train: Split
) -> tuple[Vocabulary[Any], NDArray[Any] | None]:
    """Return what the answers are of, and those to whole sequences, as ids or scaled numbers.

    They are fitted on the training split; elsewhere a label that is not there is `UNSEEN`.
    """
    if target.asks == "input":
        return vocabulary, None
    return answered(target.answers, store.columns[target.asks], store.sequence(train.begin))


def _transformed(
    resolved: Resolved, chain: Chain, reader: Reader, splits: dict[SplitName, Split]
) -> tuple[Reader, dict[SplitName, Split]]:
    """Return a reader of what transforms make of numbers, and splits in which nothing is answered
    that has no value.

    Raises `InputError` (RC031, RC041) where an answer could not be undone by what is known when it
    is made, or where a series must be known, and training sees nothing of it.
    """
    target, store, train = resolved.target, reader.store, splits["train"]
    if target.asks == "input" and target.reach != 1:
        name = resolved.parts["target"].entry.qualified
        fact = (
            f"the answers of target {name} lie {target.reach} steps ahead, and what is read is"
            " undone one step ahead"
        )
        cure = 'leave difference and seasonal_difference out, and scale_by = "series"'
        raise InputError.of("RC031", fact, key="vocabulary", cure=cure)
    if chain.by_series and not train.whole:
        seen = set(train.begin.tolist())
        for name, part in splits.items():
            strange = [begin for begin in part.begin.tolist() if begin not in seen]
            if strange:
                fact = (
                    f"{len(strange)} of the {len(part)} series of the {name} split have no part in"
                    " training, "
                )
                fact += "by which they could be scaled"
                cure = 'vocabulary.scale_by = "all"'
                cure = cure if "fold" in store.columns else f'sequence.split_by = "time", or {cure}'
                raise InputError.of("RC041", fact, key="vocabulary.scale_by", cure=cure)
    lag = chain.lag if target.asks == "input" else 0
    place = partial(place_of, store, splits)
    rows = transformed(chain, store, in_training(store, train), place)
    splits = {name: replace(part, lag=lag) for name, part in splits.items()}
    return replace(reader, rows=rows, origins=chain.width, lag=lag), splits


def _feed(resolved: Resolved, reader: Reader, train: Split) -> Feed:
    """Return the batches of training. Raises `InputError` (RC041) that does the arithmetic where
    there are too few.
    """
    sequence, batch = resolved.task.sequence, resolved.task.training.batch_size
    if train.whole:
        return _sequences(resolved, reader, train)
    if not train.steps:
        fact = (
            f"the training split holds {train.elements} elements in {len(train)} sequences: nothing"
            " can be predicted"
        )
        needed = max(train.reach, train.lag) + 1
        cure = f"a window needs an input and a target: {needed} elements"
        cure += ", for what is read are differences" if train.lag > 1 else ""
        raise InputError.of("RC041", fact, key="sequence.split", cure=cure)
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


def _sequences(resolved: Resolved, reader: Reader, train: Split) -> Feed:
    """Return the batches of whole sequences. Raises `InputError` (RC031, RC041)."""
    longest = int((reader.store.ends - reader.store.starts).max())
    resolved.in_one_window(longest)
    length, batch = resolved.task.sequence.length, resolved.task.training.batch_size
    both = [index for index, cell in enumerate(resolved.cells) if cell.options.bidirectional]
    if both and length < longest:
        fact = (
            "a cell that reads both ways takes each sequence in one window, and the longest has"
            f" {longest} steps"
        )
        cure = f"leave sequence.length out, or sequence.length = {longest}"
        raise InputError.of("RC031", fact, key="sequence.length", got=str(length), cure=cure)
    if len(train) < batch:
        fact = f"the training split holds {len(train)} sequences, and one batch takes {batch}"
        raise InputError.of(
            "RC041", fact, key="training.batch_size", cure=f"batch_size <= {len(train)}"
        )
    return Sequences.of(reader, train, length, batch, resolved.task.seed)


def _check_splits(resolved: Resolved, data: Data) -> None:
    """Refuse a split in which nothing is answered. Raises `InputError` (RC041)."""
    given = "fold" in data.store.columns
    key, cure = "sequence.split", "give it a larger share, or 0"
    if given:
        key, cure = "source", "give its fold to more, or to none"
    for (name, part), share in zip(data.splits.items(), resolved.task.sequence.split, strict=True):
        if not (len(part) if given else share):
            continue
        total = f"{len(data.store)} elements in {len(data.store.starts)} sequences"
        said = f"{len(part)} sequences" if given else f"{share:g}"
        size = f"the {name} split, {said} of {total},"
        if not part.steps:
            fact = f"{size} holds {part.elements} elements: nothing can be predicted"
            if data.lag:
                fact += (
                    f", for what is read are differences, which the first {data.lag} of a sequence"
                    " do not have"
                )
            raise InputError.of("RC041", fact, key=key, cure=cure)
        if not _answerable(data, part):
            target = resolved.parts["target"].entry.component.name
            fact = f"{size} has no step that target {target!r} scores"
            if part.whole:
                fact = f"{size} has no sequence whose {data.target.asks} training has shown"
            elif data.target.asks != "input":
                fact += f" and whose {data.target.asks} training has shown"
            raise InputError.of("RC041", fact, key=key, cure=cure)


def _answerable(data: Data, part: Split) -> bool:
    """Tell whether anything in a split is scored; nothing is read beyond its first such step."""
    reader = data.reader
    if part.whole:
        return bool(len(reader.answerable(part)))
    if reader.labels is None and type(data.target).scored is Target.scored:
        return True
    batches = chain.from_iterable(groups(reader, part.scored()))
    return any(bool(batch.mask.any()) for batch in batches)


def check_prompt(resolved: Resolved, vocabulary: Vocabulary[Any]) -> None:
    """Check the task's prompt. Raises `InputError` (RC043, RC080)."""
    prompt, generation = resolved.task.generation.prompt, resolved.task.generation
    if generation.warm and generation.position:
        fact = (
            "with warm = true the prompt stands after what is read first, so position must be"
            " left out"
        )
        raise InputError.of("RC014", fact, key="generation.position", got=str(generation.position))
    if prompt is None:
        return
    key = "generation.prompt"
    elements = ELEMENTS[vocabulary.yields]
    if prompt != [] and not elements.accepts(prompt):
        fact = f"the prompt must be {elements.prompt} here"
        raise InputError.of("RC080", fact, key=key, got=checking.literal(prompt))
    if not len(encoded(vocabulary, prompt)):
        if holds_any(vocabulary, prompt):
            raise InputError.of(
                "RC080", SKIPPED, key=key, got=checking.literal(prompt), cure=GIVE_KNOWN
            )
        raise InputError.of(
            "RC080",
            "the prompt is empty, so nothing can follow",
            key=key,
            cure="give one element or more",
        )
