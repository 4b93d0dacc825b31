"""How a generation begins: with a prompt, with what a run recorded of its data, or with the one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.vocabulary import Vocabulary
from recurra.errors import InputError
from recurra.generate.session import Session
from recurra.runs.folder import RunFolder


def begun(make: Callable[[int], Session], folder: RunFolder, prompt: Any, position: int, warm: bool) -> Session:
    """Return a session that has read a prompt, or the opening where there is none; what is `warm`, after an ending.

    `make` gives a session whose first element stands at a position. The ending is the last text of training; the
    opening of a series is its own end, which is thus read once. Raises `InputError` (RC043, RC080).
    """
    if prompt is not None and not warm:
        return make(position).feed(prompt)

    session, data = make(0), folder.read("data.json")
    ending = "opening" if session.vocabulary.yields == "numbers" else "ending"
    first = ending if warm else "opening"
    if warm:
        _check(folder, data, ending, position)

    session = make(data[f"{first}_position"]).feed_ids(recorded(session.vocabulary, data[first]))
    if warm:
        session.seen.zero_()  # a penalty of repetition is for what the reader sees
    if prompt is not None:
        return session.feed(prompt)
    return session if first == "opening" else session.feed_ids(recorded(session.vocabulary, data["opening"]))


def _check(folder: RunFolder, data: dict[str, Any], ending: str, position: int) -> None:
    """Check that a warm generation can begin. Raises `InputError` (RC080)."""
    if position:
        fact = f"position = {position}: a warm prompt stands after what is read before it"
        raise InputError.of("RC080", fact, key="generation.position", cure="leave position or warm out")
    if ending not in data:
        fact = f"{folder.path} was made by a version that recorded no text to read before a prompt"
        cure = "leave warm out, and give a longer prompt"
        raise InputError.of("RC080", fact, key="generation.warm", cure=cure)


def recorded(vocabulary: Vocabulary[Any], elements: Any) -> NDArray[Any]:
    """Return elements of data.json, ids or numbers in the data's units, as the network reads them."""
    values = np.array(elements)
    return vocabulary.encode(values) if vocabulary.yields == "numbers" else values
