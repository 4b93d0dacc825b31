"""How processes that torchrun has started find each other, in a store that may outlive them."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

PAUSE = 0.02
"""Seconds between two looks whether the others have come."""


def met(store: Any, rank: int, size: int, patience: float) -> str:
    """Return a name of this meeting of so many processes, the same in all, and in no other.

    torchrun keeps one store while it starts processes again: at another size, or at one that there
    has been, and how often it has done so each machine counts by itself. So a process says that it
    is here by a word of its own, which the first answers with the name, until all have come.
    Raises `RuntimeError` where they do not.
    """
    word, until = uuid4().hex, time.monotonic() + patience
    if rank:
        store.set(_here(rank, size), word)
        name: str = store.get(_answer(word)).decode()
        store.set(_came(name, rank), word)
        return name

    missing, answered = dict.fromkeys(range(1, size)), set()
    while missing:
        for other in list(missing):
            if store.check([_here(other, size)]):
                said = store.get(_here(other, size)).decode()
                # What nobody waits for any more was said before.
                if said not in answered:
                    store.set(_answer(said), word)
                    answered.add(said)
            if store.check([_came(word, other)]):
                del missing[other]
        if time.monotonic() > until:
            who = ", ".join(map(str, missing))
            raise RuntimeError(f"nothing was heard of {who} for {patience:.0f} s")
        time.sleep(PAUSE)
    return word


def _here(rank: int, size: int) -> str:
    return f"recurra/here/{size}/{rank}"


def _answer(word: str) -> str:
    return f"recurra/answer/{word}"


def _came(name: str, rank: int) -> str:
    return f"recurra/came/{name}/{rank}"
