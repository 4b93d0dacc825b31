"""Symbols and numbers, as far as a session differs by what it reads: one object each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.vocabulary import UnknownSymbol, Vocabulary, broken_text
from recurra.data.chain import Chain
from recurra.data.corpus import unknown_symbol
from recurra.data.intake import LARGEST
from recurra.data.stream import Stream
from recurra.errors import InputError
from recurra.generate import arguments, draws, loop
from recurra.generate.sampling import Sampling
from recurra.spec.tables import Generation

if TYPE_CHECKING:
    from recurra.generate.session import Session

SKIPPED = (
    "no symbol of the prompt is in the vocabulary, and all were left out, so nothing can follow"
)
TOO_FEW = (
    "this run scales each series by what is given of it first, and one step alone has no scale"
)
GIVE_KNOWN = (
    'give one symbol or more that the data holds, or train with vocabulary.unknown = "token"'
)


class Elements(Protocol):
    """What a network reads, and what it is asked for.

    What only one of the two has, the other refuses or leaves out. `lacks` are the methods of a
    session that the other one has, each with what is called instead; `followed` says what becomes
    of these; `unused` are the keys of `[generation]` that nothing reads. One that is `ended` by
    training reads that end before a warm prompt.
    """

    name: ClassVar[str]
    other: ClassVar[str]
    followed: ClassVar[str]
    lacks: ClassVar[Mapping[str, str]]
    unused: ClassVar[tuple[str, ...]] = ()
    ended: ClassVar[bool] = False
    accompanied: ClassVar[bool] = False

    def has(self, method: str) -> None:
        """Refuse a method of a session that these lack. Raises `InputError` (RC080)."""
        if method in self.lacks:
            fact = f"{method} is for a run of {self.other}, and this one generates {self.name}"
            raise InputError.of("RC080", fact, cure=self.lacks[method])

    def drawn_by(self, argument: str, distributed: bool) -> None:
        """Refuse an argument that tells draws apart, where nothing is drawn.

        Numbers are drawn where a network says how they are `distributed`. Raises `InputError`
        (RC080).
        """
        return

    def draws(self, seed: int, scheme: int, series: str) -> draws.Draws:
        """Return what draws under a seed, at its beginning: of a series, where that is named."""
        return draws.begun(seed, scheme)

    def sampled_by(self, settings: Iterable[str]) -> None:
        """Refuse settings of sampling, where nothing is sampled. Raises `InputError` (RC080)."""
        return

    def encoded(self, vocabulary: Vocabulary[Any], values: Any) -> NDArray[Any]:
        """Return a prompt as ids, or rows of numbers.

        Raises `InputError` (RC043, RC080) if it cannot be read here.
        """

    def checked(self, vocabulary: Vocabulary[Any], ids: Any) -> NDArray[Any]:
        """Return ids, or rows of numbers, as they are fed.

        Raises `InputError` (RC080) for what is none.
        """

    def recorded(self, vocabulary: Vocabulary[Any], values: Any, name: str) -> NDArray[Any]:
        """Return what a run recorded under a name, as ids, or rows of numbers.

        Raises any error if it is none.
        """

    def stream(
        self, vocabulary: Vocabulary[Any], known: NDArray[Any] | None = None
    ) -> Stream | Plain:
        """Return what makes ids, or rows of numbers, into what the network reads.

        It takes one series, from its beginning on. `known` are rows of it by which it may be
        scaled; else they are those that come first.
        """

    def window(self, values: NDArray[Any], dtype: torch.dtype) -> Tensor:
        """Return what the network reads: ids `[n]`, or numbers `[n, F]`.

        Raises `InputError` (RC080) for numbers that it cannot hold.
        """

    def note(self, seen: Tensor, x: Tensor) -> None:
        """Mark in `seen` `[B, V]` the symbols of a window `[B, T]`."""
        return

    def generated(self, session: Session, settings: Generation, streams: int) -> Iterator[Any]:
        """Give what comes next, step by step."""

    def check_draws(self, settings: Generation, seed: int | None, streams: int) -> None:
        """Refuse what tells draws apart where nothing is drawn. Raises `InputError` (RC080)."""
        return

    def shown(
        self, vocabulary: Vocabulary[Any], prompt: Any, opening: Callable[[], NDArray[Any]]
    ) -> str:
        """Return the text that generation goes on from."""

    def whole(self, prompt: str, steps: Iterable[Any]) -> Any:
        """Return prompt and steps as plain data."""

    def horizon(self, settings: Generation) -> int:
        """Return how many steps a sequence goes on by default."""
        return 0


class Plain:
    """Ids on their way into the network: they are what it reads."""

    missing, at_once = 0, 1
    rows: ClassVar[NDArray[Any]] = np.zeros((0, 0))

    def read(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return them."""
        return values

    def undo(self, row: NDArray[Any]) -> NDArray[Any]:
        """Return them."""
        return row

    def fed_back(self, x: Tensor) -> Tensor:
        """Return them."""
        return x

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def restored(self, tensors: dict[str, Tensor]) -> Plain:
        """Take nothing. Raises `ValueError` if there is any."""
        if tensors:
            raise ValueError("symbols have no transforms")
        return self


class Symbols(Elements):
    """Ids: a prompt is text or tokens, and what follows is drawn."""

    name, other = "symbols", "numbers"
    followed = "drawn"
    unused = ("levels", "paths")
    lacks: ClassVar[Mapping[str, str]] = {
        "distribution": "chances() gives the chance of each symbol",
        "draw_step": "draw(Sampling()) gives the next symbol",
        "forecast_step": "draw(Sampling()) gives the next symbol",
    }
    ended = True

    def encoded(self, vocabulary: Vocabulary[Any], values: Any) -> NDArray[Any]:
        """Return the ids of a text, or of a list of tokens."""
        _check_text(values)
        elements = vocabulary.parse(values) if isinstance(values, str) else values
        if vocabulary.reads == "tokens":
            readable = _are_texts(elements)
        else:
            readable = isinstance(elements, str)
        if not readable:
            raise refused("this run reads symbols: the prompt must be text")
        try:
            return vocabulary.encode(elements)
        except UnknownSymbol as error:
            cure = _token_list(vocabulary, values) if isinstance(values, str) else ""
            raise unknown_symbol(error, 0, "the prompt", "generation.prompt", cure) from error

    def checked(self, vocabulary: Vocabulary[Any], ids: Any) -> NDArray[Any]:
        """Return whole numbers `[n]`, each an id of the vocabulary."""
        array, most = np.asarray(ids), vocabulary.size - 1
        if not array.size:
            return np.zeros(0, np.int64)
        whole = array.ndim == 1 and array.dtype.kind in "iu"
        if not whole or array.min() < 0 or array.max() > most:
            fact = f"ids must be a list of whole numbers from 0 to {most}"
            raise InputError.of("RC080", fact, got=arguments.shown(ids))
        return array

    def recorded(self, vocabulary: Vocabulary[Any], values: Any, name: str) -> NDArray[Any]:
        """Return ids, which must be of the vocabulary."""
        ids = np.array(values, np.int64)
        if ids.ndim != 1 or not len(ids) or ids.max() >= vocabulary.size:
            raise ValueError(f"{name} holds no ids of the vocabulary")
        return ids

    def stream(self, vocabulary: Vocabulary[Any], known: NDArray[Any] | None = None) -> Plain:
        """Return what leaves ids as they are."""
        return Plain()

    def window(self, values: NDArray[Any], dtype: torch.dtype) -> Tensor:
        """Return ids as int64."""
        return torch.tensor(np.ascontiguousarray(values)).long()

    def note(self, seen: Tensor, x: Tensor) -> None:
        """Mark the ids."""
        seen.scatter_(1, x, True)

    def generated(self, session: Session, settings: Generation, streams: int) -> Iterator[Any]:
        """Give text as it becomes certain; of several streams a list."""
        texts = loop.symbols(session, settings.length, sampling(settings), settings.stop)
        return texts if streams > 1 else ("".join(parts) for parts in texts)

    def check_draws(self, settings: Generation, seed: int | None, streams: int) -> None:
        """Refuse a seed and several streams where the likeliest symbol is taken."""
        if settings.temperature:
            return
        why = "and at temperature 0 nothing is drawn: the likeliest is taken"
        cure = "give a temperature above 0"
        if seed is not None:
            raise InputError.of("RC080", f"seed decides what is drawn, {why}", cure=cure)
        if arguments.whole("streams", streams, 1) > 1:
            fact = f"streams differ in what is drawn, {why}"
            raise InputError.of("RC080", fact, got=f"{streams}", cure=cure)

    def shown(
        self, vocabulary: Vocabulary[Any], prompt: Any, opening: Callable[[], NDArray[Any]]
    ) -> str:
        """Return the prompt as a text."""
        if prompt is None:
            return vocabulary.text(opening())
        return prompt if isinstance(prompt, str) else " ".join(str(token) for token in prompt)

    def whole(self, prompt: str, steps: Iterable[Any]) -> Any:
        """Return one text."""
        return prompt + "".join(steps)


class Numbers(Elements):
    """Scaled rows: a prompt is a list of numbers, and what follows is forecast."""

    name, other = "numbers", "symbols"
    followed = "forecast"
    accompanied = True
    lacks: ClassVar[Mapping[str, str]] = {
        "chances": "expected() gives what the network says of the next numbers",
        "draw": "forecast_step() gives the next numbers, draw_step() draws them",
    }
    unused = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop")

    def drawn_by(self, argument: str, distributed: bool) -> None:
        """Refuse it where a network says a number alone."""
        if distributed:
            return
        fact = f"{argument} tells draws apart, and here nothing is drawn: a forecast is the same"
        cure = 'numbers are drawn under a loss that is a distribution, as "student_t", step by step'
        raise InputError.of("RC080", f"{fact} every time", cure=cure)

    def draws(self, seed: int, scheme: int, series: str) -> draws.Draws:
        """Return the draws of the paths of a series, which are the same under any scheme."""
        return draws.of_paths(seed, series)

    def check_draws(self, settings: Generation, seed: int | None, streams: int) -> None:
        """Refuse several streams: what is forecast is one for all."""
        if arguments.whole("streams", streams, 1) > 1:
            fact = "streams differ in what is drawn, and a forecast is the same every time"
            cure = "a session with streams draws them where the loss is a distribution: draw_step()"
            raise InputError.of("RC080", fact, got=f"{streams}", cure=cure)

    def sampled_by(self, settings: Iterable[str]) -> None:
        """Refuse them."""
        if named := ", ".join(settings):
            raise InputError.of("RC080", f"{named}: for symbols alone; numbers are forecast")

    def encoded(self, vocabulary: Vocabulary[Any], values: Any) -> NDArray[Any]:
        """Return rows of numbers in the data's own units."""
        return _rows(values, vocabulary.size, vocabulary.missing is not None)

    def checked(self, vocabulary: Vocabulary[Any], ids: Any) -> NDArray[Any]:
        """Return rows of numbers in the data's own units."""
        return self.encoded(vocabulary, ids)

    def recorded(self, vocabulary: Vocabulary[Any], values: Any, name: str) -> NDArray[Any]:
        """Return rows of numbers as they came."""
        return self.encoded(vocabulary, values)

    def stream(self, vocabulary: Vocabulary[Any], known: NDArray[Any] | None = None) -> Stream:
        """Return what scales rows, and transforms them."""
        return Stream(Chain(vocabulary), known)

    def window(self, values: NDArray[Any], dtype: torch.dtype) -> Tensor:
        """Return numbers in the arithmetic of the network, which must be finite there."""
        rows = torch.tensor(np.ascontiguousarray(values)).to(dtype)
        finite = torch.isfinite(rows)
        if bool(finite.all()):
            return rows

        row = int(torch.nonzero(~finite)[0, 0])
        fact = (
            f"the number at step {row} of the prompt is beyond all numbers of {dtype} once it is"
            " scaled"
        )
        raise refused(fact, cure="give numbers like those of the data")

    def generated(self, session: Session, settings: Generation, streams: int) -> Iterator[Any]:
        """Give the next numbers in the data's units: of one feature a number, of several a list."""
        return (
            float(row[0]) if len(row) == 1 else row.tolist()
            for row in loop.numbers(session, settings.length)
        )

    def shown(
        self, vocabulary: Vocabulary[Any], prompt: Any, opening: Callable[[], NDArray[Any]]
    ) -> str:
        """Return nothing."""
        return ""

    def whole(self, prompt: str, steps: Iterable[Any]) -> Any:
        """Return the numbers alone."""
        return list(steps)

    def horizon(self, settings: Generation) -> int:
        """Return as many as the task forecasts."""
        return settings.length


ELEMENTS: Mapping[str, Elements] = {"symbols": Symbols(), "numbers": Numbers()}
"""By what a vocabulary yields."""


def encoded(vocabulary: Vocabulary[Any], values: Any) -> NDArray[Any]:
    """Return a prompt as ids, or rows of numbers.

    Raises `InputError` (RC043, RC080) if it cannot be read here.
    """
    return ELEMENTS[vocabulary.yields].encoded(vocabulary, values)


def sampling(settings: Generation) -> Sampling:
    """Return how a `[generation]` table says that a symbol is picked.

    What waits there for a temperature is left out.
    """
    read = [each.name for each in fields(Sampling) if each.name not in settings.idle]
    return Sampling(**{name: getattr(settings, name) for name in read})


def holds_any(vocabulary: Vocabulary[Any], values: Any) -> bool:
    """Tell whether a prompt holds any element: white space alone is no token."""
    elements = vocabulary.parse(values) if isinstance(values, str) else values
    return len(elements) > 0


def _token_list(vocabulary: Vocabulary[Any], text: str) -> str:
    """Return how tokens with spaces in them are given, if a text holds any of the vocabulary.

    The text itself is cut at its spaces.
    """
    if vocabulary.reads != "tokens":
        return ""
    names = [vocabulary.symbol(index) for index in range(vocabulary.size)]
    inside = [name for name in names if name in text]
    spaced = [name for name in inside if vocabulary.parse(name) != [name]]
    if not spaced:
        return ""
    example = json.dumps(max(spaced, key=len), ensure_ascii=False)
    return (
        f"a token with spaces stands in a list: prompt = [{example}] in a task or in Python, and on"
        f" the command line '[{example}]' after --prompt or --text"
    )


def _are_texts(elements: Any) -> bool:
    """Tell whether a prompt is a list of tokens."""
    return isinstance(elements, list) and all(isinstance(token, str) for token in elements)


def _check_text(values: Any) -> None:
    """Refuse a text, or a list of tokens, that holds half of a surrogate pair.

    No file could hold what follows.
    """
    texts = values if isinstance(values, list) else [values]
    for text in texts:
        place = broken_text(text) if isinstance(text, str) else -1
        if place >= 0:
            fact = (
                f"the prompt holds half of a surrogate pair (U+{ord(text[place]):04X}) at position"
                f" {place}"
            )
            raise refused(fact, cure="give text that is UTF-8")


def _rows(values: Any, width: int, missing: bool = False) -> NDArray[np.float64]:
    """Return a prompt of numbers as `[n, width]`, of which some may be `missing`: None or nan."""
    if isinstance(values, str):
        raise refused(
            "this run reads numbers: the prompt must be a list of them, --values on the command"
            " line"
        )
    needed = f"the prompt must be a list of numbers, {width} a step"
    if isinstance(values, list) and any(isinstance(value, bool) for value in values):
        raise _unreadable(needed, values)
    try:
        rows = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise _unreadable(f"{needed}, and its steps differ in width", values) from error

    # Whole numbers beyond all floats, or Decimal, are objects to numpy.
    if rows.dtype == object:
        rows = _floats(rows, width, missing)
    if not rows.size:
        return np.zeros((0, width))
    if rows.dtype.kind not in "fiu" or not rows.ndim:
        raise _unreadable(needed, values)

    each = f"each step takes {width} numbers, but each of the prompt has"
    if rows.ndim > 2:
        raise _unreadable(f"{each} lists", values)
    columns = rows.shape[1] if rows.ndim == 2 else 1
    if columns != width:
        raise refused(f"{each} {columns}", got=str(values)[:80])

    rows = rows.astype(np.float64)
    # Written so that it refuses nan too.
    wrong = ~(np.abs(rows) <= LARGEST).reshape(-1, width)
    rows = rows.reshape(-1, width)
    if missing:
        wrong &= ~np.isnan(rows)
    if wrong.any():
        step, column = np.argwhere(wrong)[0].tolist()
        fact = f"step {step} of the prompt is a number that is not finite, or above {LARGEST:g}"
        if np.isnan(rows).any():
            fact += "; in what this run was trained on nothing may be missing"
        raise refused(fact, got=f"{rows[step, column]:g}")
    return rows


def _floats(rows: NDArray[Any], width: int, missing: bool) -> NDArray[Any]:
    """Return an array of Python's own numbers as floats; None is one that is `missing`."""
    needed = f"the prompt must be a list of numbers, {width} a step"
    values = rows.ravel().tolist()
    if missing:
        values = [math.nan if value is None else value for value in values]
    # `float` takes a text and a flag as well.
    if any(value is None or isinstance(value, str | bytes | bool | complex) for value in values):
        raise _unreadable(needed, rows.tolist())
    try:
        floats = np.array([float(value) for value in values], np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise refused(f"{needed}: {error}") from error
    return floats.reshape(rows.shape)


def _unreadable(fact: str, values: Any) -> InputError:
    """Return the error of a prompt that is no list of numbers, with how it begins."""
    return refused(fact, got=arguments.shown(values))


def too_short(missing: int) -> str:
    """Return what is to be said where what is read are differences, and nothing has one yet."""
    steps = f"{missing} more step{'s' * (missing > 1)}"
    return f"this run reads differences, and {steps} must come before anything can be foreseen"


def refused(fact: str, **details: str) -> InputError:
    """Return the error of a prompt that cannot be used (RC080)."""
    return InputError.of("RC080", fact, key="generation.prompt", **details)
