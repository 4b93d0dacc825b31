"""The one generation loop: after the whole prompt one step at a time, with the state carried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.vocabulary import Vocabulary, broken_text
from recurra.errors import PluginError
from recurra.generate.sampling import Sampling

if TYPE_CHECKING:
    from recurra.generate.session import Session

REPLACEMENT = "\ufffd"


def symbols(
    session: Session, length: int, sampling: Sampling, stop: Sequence[str] = ()
) -> Iterator[list[str]]:
    """Give the text of each stream as it becomes certain, one list a step, up to `length` symbols.

    A stream ends before the first of the `stop` texts; what might be the beginning of one is held
    back until it is not.
    """
    known = texts_of(session.vocabulary)
    writers = [Writer(session, stop, known) for _ in range(session.streams)]
    ends = _in_ids(session.vocabulary, stop)
    made = 0
    while made < length:
        for ids in session.draw_many(length - made, sampling, ends):
            made += 1
            yield [writer.take(int(index)) for writer, index in zip(writers, ids, strict=True)]
            if all(writer.done for writer in writers):
                return
        # These ids have not come to the texts after all.
        ends = []
    yield [writer.rest() for writer in writers]


def _in_ids(vocabulary: Vocabulary[Any], stop: Sequence[str]) -> list[list[int]]:
    """Return the ids of the texts that have some: no symbol is drawn in vain after them."""
    found = []
    for text in stop:
        # A text that cannot be read as a prompt is looked for in what is drawn alone.
        with suppress(Exception):
            ids = vocabulary.encode(vocabulary.parse(text))
            if len(ids) and vocabulary.text(ids) == text:
                found.append(ids.tolist())
    return found


def texts_of(vocabulary: Vocabulary[Any]) -> dict[int, str] | None:
    """Return where texts of ids are kept, if that of an id hangs on no other; none is known yet."""
    return {} if type(vocabulary).streamer is Vocabulary.streamer else None


class Writer:
    """Turns one stream's ids into text, and watches for the texts that end it.

    Texts of ids that are `known` are looked up, and those of others kept there.
    """

    def __init__(
        self, session: Session, stop: Sequence[str], known: dict[int, str] | None = None
    ) -> None:
        self.text_of = session.vocabulary.streamer()
        self.known = known
        self.owner = type(session.vocabulary).__name__
        self.stop = [text for text in stop if text]
        # What may be the beginning of a stop text, and is not given yet.
        self.pending = ""
        self.done = False

    def take(self, index: int) -> str:
        """Return the text that is certain once this id has come."""
        if self.done:
            return ""
        known = None if self.known is None else self.known.get(index)
        own = self._text(index) if known is None else known
        if not self.stop:
            return own
        text = self.pending + own
        ends = [place for place in map(text.find, self.stop) if place >= 0]
        if ends:
            self.done = True
            self.pending = ""
            return text[: min(ends)]

        uncertain = max((_overlap(text, stop) for stop in self.stop), default=0)
        cut = len(text) - uncertain
        self.pending = text[cut:]
        return text[:cut]

    def _text(self, index: int) -> str:
        """Return the text of an id; half of a surrogate pair, which no file holds, is U+FFFD."""
        text = self.text_of(index)
        if not isinstance(text, str):
            fact = f"{self.owner}: streamer gives {type(text).__name__}, not str"
            raise PluginError.of("RC071", fact)
        if broken_text(text) >= 0:
            marks = (REPLACEMENT if broken_text(mark) >= 0 else mark for mark in text)
            text = "".join(marks)
        if self.known is not None:
            self.known[index] = text
        return text

    def rest(self) -> str:
        """Return what was held back, once no more will come."""
        text, self.pending = self.pending, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text begin a stop text.

    At the end of "the e" those are 1 of the stop text "end", and 0 of "dog".
    """
    longest = min(len(text), len(stop) - 1)
    for count in range(longest, 0, -1):
        if stop.startswith(text[-count:]):
            return count
    return 0


def numbers(session: Session, length: int) -> Iterator[NDArray[np.float64]]:
    """Give the next steps in the data's units, `[F]` each, every one fed back as if it had come.

    Where the network says several at once these are given, no more of them than there are.
    """
    if session.outlook is not None:
        steps = min(length, session.outlook.steps)
        if steps:
            yield from session.forecast(steps)
        return
    yield from session.forecast_many(length)
