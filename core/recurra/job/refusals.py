"""What is refused of the data of a task: splits in which nothing is answered, series, prompts."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from recurra.contracts.target import Target
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.chain import Chain
from recurra.data.segments import groups
from recurra.data.splits import Split
from recurra.data.store import Store
from recurra.errors import InputError
from recurra.generate.elements import GIVE_KNOWN, SKIPPED, encoded, holds_any
from recurra.job.elements import ELEMENTS
from recurra.resolved import Resolved
from recurra.spec import checking

if TYPE_CHECKING:
    from recurra.data.splits import SplitName
    from recurra.job.data import Data


def check_ahead(resolved: Resolved, chain: Chain) -> None:
    """Refuse a transform that undoes one step alone where several are answered at once.

    Raises `InputError` (RC031).
    """
    lacking = chain.lacks_ahead()
    if not resolved.target.ahead or not lacking:
        return
    name = resolved.parts["target"].entry.qualified
    fact = (
        f"target {name} answers {resolved.target.ahead} steps at once, and {lacking} can be undone"
        " one step ahead alone"
    )
    cure = "leave it out of [vocabulary], or give its transform a method `against`"
    raise InputError.of("RC031", fact, key="vocabulary", cure=cure)


def check_series(store: Store, splits: dict[SplitName, Split]) -> None:
    """Refuse series of which training sees nothing. Raises `InputError` (RC041)."""
    seen = set(splits["train"].begin.tolist())
    for name, part in splits.items():
        unseen = [begin for begin in part.begin.tolist() if begin not in seen]
        if not unseen:
            continue
        fact = (
            f"{len(unseen)} of the {len(part)} series of the {name} split have no part in"
            " training, by which they could be scaled"
        )
        cure = 'vocabulary.scale_by = "all"'
        # Where the data says which split is whose, no other way of splitting helps.
        if "fold" not in store.columns:
            cure = f'sequence.split_by = "time", or {cure}'
        raise InputError.of("RC041", fact, key="vocabulary.scale_by", cure=cure)


def check_splits(resolved: Resolved, data: Data) -> None:
    """Refuse a split in which nothing is answered. Raises `InputError` (RC041)."""
    store = data.store
    total = f"{len(store)} elements in {len(store.starts)} sequences"
    by_fold = "fold" in store.columns
    key, cure = "sequence.split", "give it a larger share, or 0"
    if by_fold:
        key, cure = "source", "give its fold to more, or to none"

    for (name, part), share in zip(data.splits.items(), resolved.task.sequence.split, strict=True):
        # A split that nobody asked for may be empty.
        if not (len(part) if by_fold else share):
            continue
        size = f"{len(part)} sequences" if by_fold else checking.literal(share)
        subject = f"the {name} split, {size} of {total},"
        if not part.steps:
            fact = f"{subject} holds {part.elements} elements: nothing can be predicted"
            if data.lag:
                fact += (
                    f", for what is read are differences, which the first {data.lag} of a sequence"
                    " do not have"
                )
            raise InputError.of("RC041", fact, key=key, cure=cure)
        if not answerable(data, part):
            fact = f"{subject} {unanswered(resolved, part)}"
            raise InputError.of("RC041", fact, key=key, cure=cure)


def unanswered(resolved: Resolved, part: Split) -> str:
    """Return what a split lacks in which there is a prediction, and none that is scored."""
    asks = resolved.target.asks
    if part.whole:
        return f"has no sequence whose {asks} training has shown"
    target = resolved.parts["target"].entry.component.name
    fact = f"has no step that target {target!r} scores"
    if asks != "input":
        fact += f" and whose {asks} training has shown"
    return fact


def answerable(data: Data, part: Split) -> bool:
    """Tell whether anything in a split is scored; nothing is read beyond its first such step."""
    reader = data.reader
    if part.whole:
        return bool(len(reader.answerable(part)))
    scores_all = type(data.target).scored is Target.scored
    if reader.labels is None and scores_all and reader.carried is None:
        return True
    batches = chain.from_iterable(groups(reader, part.scored()))
    return any(bool(batch.mask.any()) for batch in batches)


def check_prompt(resolved: Resolved, vocabulary: Vocabulary[Any]) -> None:
    """Check the task's prompt. Raises `InputError` (RC043, RC080)."""
    generation = resolved.task.generation
    if generation.warm and generation.position:
        fact = (
            "with warm = true the prompt stands after what is read first, so position must be"
            " left out"
        )
        got = str(generation.position)
        raise InputError.of("RC014", fact, key="generation.position", got=got)

    prompt, key = generation.prompt, "generation.prompt"
    if prompt is None:
        return
    elements = ELEMENTS[vocabulary.yields]
    if prompt != [] and not elements.accepts(prompt):
        fact = f"the prompt must be {elements.prompt} here"
        raise InputError.of("RC080", fact, key=key, got=checking.literal(prompt))

    if len(encoded(vocabulary, prompt)):
        return
    if holds_any(vocabulary, prompt):
        got = checking.literal(prompt)
        raise InputError.of("RC080", SKIPPED, key=key, got=got, cure=GIVE_KNOWN)
    fact = "the prompt is empty, so nothing can follow"
    raise InputError.of("RC080", fact, key=key, cure="give one element or more")
