"""What each of several processes tells the others beside their work: that it lives, how it ended.

Each says so in the store that torchrun keeps for them, some times a second, and hears the others.
So one that dies, is stopped or is out of reach is named, also where nobody waits for it.
"""

from __future__ import annotations

import os
import pickle
import platform
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from recurra import system
from recurra.errors import InputError, Interrupted, Problem, RecurraError, RunError

VARIABLE = "RECURRA_TIMEOUT"
"""The variable that says for how many seconds a process may not be heard of."""
SILENCE = 120.0
"""Seconds without a word after which a process is given up."""
BEAT = 0.5
"""Seconds between two words."""
GRACE = 5.0
"""Seconds that a process has to end by itself, once another is lost."""
SOON = 4.0
"""Seconds for which is looked for the one by whose fault a talk has failed."""

T = TypeVar("T")
WORKING, LEFT, FAILED = "works", "has left", "has failed"


End = tuple[type[RecurraError], tuple[Problem, ...], int]
"""How a process ended: the class of its error, its problems and its exit code."""


class Said(NamedTuple):
    """What a process says of itself, in its so many-th work together with the others.

    `end` is how that ended, as `ended_by` gives it.
    """

    beats: int
    work: int
    state: str
    pid: int
    host: str
    end: End | None = None


@dataclass
class Heard:
    """What was heard of a process last, and when that was new."""

    said: Said | None
    at: float


class Peers:
    """The other processes, as one of them hears of them.

    `lost` is called, in a thread of its own, where one is gone and this process has not ended by
    itself meanwhile.
    """

    def __init__(
        self, store: Any, rank: int, size: int, lost: Callable[[RecurraError], None]
    ) -> None:
        # A connection of its own: what the others wait for there may take long.
        self.store = store.clone() if hasattr(store, "clone") else store
        self.rank, self.size, self.lost = rank, size, lost
        self.patience = patience()
        self.state, self.beats, self.work = WORKING, 0, 0
        self.end: End | None = None
        self.turn = threading.Lock()
        now = time.monotonic()
        self.heard = {other: Heard(None, now) for other in range(size) if other != rank}
        self.reached = now
        self.over = threading.Event()
        works = (self._beat, self._watch)
        self.threads = [threading.Thread(target=work, daemon=True) for work in works]
        for thread in self.threads:
            thread.start()

    def begin(self) -> None:
        """Say that this process works with the others, again if it has before."""
        self.work += 1
        self.say(WORKING)

    def say(self, state: str, error: BaseException | None = None) -> None:
        """Say how this process does, or how it ended."""
        self.state = state
        self.end = None if error is None else ended_by(error, self.rank, self.size)
        soon(self._talk)

    def close(self) -> None:
        """Say no more, and hear no more.

        A thread that talks with the store while Python ends would end the process with SIGABRT, so
        it is waited for; where the store answers nothing not for long.
        """
        self.over.set()
        for thread in self.threads:
            thread.join(SOON)

    def _talk(self) -> None:
        with self.turn:
            self.beats += 1
            said = Said(self.beats, self.work, self.state, os.getpid(), platform.node(), self.end)
            self.store.set(_key(self.rank), pickle.dumps(said))
            self.reached = time.monotonic()

    def _beat(self) -> None:
        """Speak and listen, for as long as the store is there."""
        pause = min(BEAT, self.patience / 8)
        while not self.over.wait(pause):
            try:
                self._talk()
                self._listen()
            except (RuntimeError, OSError):
                # Whoever holds the store is gone, with all that would have been said there.
                return

    def _listen(self) -> None:
        others = list(self.heard)
        keys = [_key(other) for other in others]
        there = [other for other, key in zip(others, keys, strict=True) if self.store.check([key])]
        if not there:
            return
        with self.turn:
            words = self.store.multi_get([_key(other) for other in there])
        now = time.monotonic()
        for other, word in zip(there, words, strict=True):
            said = pickle.loads(word)
            if said != self.heard[other].said:
                self.heard[other] = Heard(said, now)
        self.reached = now

    def _watch(self) -> None:
        """Look whether anybody is lost; it waits for no answer, so that nothing can hold it up."""
        while not self.over.wait(min(BEAT, self.patience / 8)):
            work, error = self.work, self._silent(self.patience) or self._failed()
            if error is None or self.state != WORKING or self.over.wait(GRACE):
                continue
            if self.state == WORKING and self.work == work:
                self.lost(error)
                return

    def why(self) -> RecurraError:
        """Return the error of whoever is gone, after a talk has failed."""
        until = time.monotonic() + SOON
        while True:
            if error := self._known():
                return error
            if time.monotonic() > until:
                break
            time.sleep(0.1)
        return self._silent(SOON / 2) or _lost(f"one of {self.size} processes has ended")

    def fault(self) -> RecurraError | None:
        """Return the error of another process that has failed or died, if any soon has."""
        until = time.monotonic() + BEAT * 3
        while time.monotonic() < until:
            error = self._known()
            if error is not None and not isinstance(error, Interrupted):
                return error
            time.sleep(0.1)
        return None

    def _known(self) -> RecurraError | None:
        """Return how another process has ended, by its last word or the system's."""
        dead = self._dead()
        # It may have said why.
        soon(self._listen)
        return self._failed() or dead

    def _failed(self) -> RecurraError | None:
        """Return how another process has ended, if one says so."""
        said = [each.said for each in self.heard.values() if each.said is not None]
        ends = [each.end for each in said if each.end and each.work >= self.work]
        # What failed by itself comes before what was ended for it.
        for kind, problems, code in sorted(ends, key=lambda end: end[0] is Interrupted):
            error = kind(problems)
            # Of what is no error of recurra's its own process has shown a traceback alone.
            error.exit_code, error.told = code, problems[0].code != "RC064"
            return error
        return None

    def _dead(self) -> RecurraError | None:
        """Return the error of a process of this machine that the system has no more, if any."""
        here = platform.node()
        for other, heard in self.heard.items():
            said = heard.said
            if said is None or said.host != here or said.state == LEFT:
                continue
            if system.fate(said.pid) == "died":
                fact = f"process {other} of {self.size} (pid {said.pid} on {here}) has died"
                cure = "look whether the system killed it, as for want of memory"
                return _lost(fact, cure)
        return None

    def _silent(self, seconds: float) -> RecurraError | None:
        """Return the error of those of whom nothing was heard for so long, if any."""
        if error := self._dead_by_silence(seconds):
            return error
        if time.monotonic() - self.reached > seconds:
            fact = f"process {self.rank} of {self.size} on {platform.node()} has not reached the"
            fact += f" others for {time.monotonic() - self.reached:.0f} s"
            return _lost(fact, "look at the network between the machines")
        return None

    def _dead_by_silence(self, seconds: float) -> RecurraError | None:
        now = time.monotonic()
        if now - self.reached > seconds / 2:
            # It is this one that hears nothing.
            return None
        silent = []
        for other, heard in self.heard.items():
            said = heard.said
            if now - heard.at <= seconds or (said is not None and said.state == LEFT):
                continue
            who = f"process {other} of {self.size}"
            if said is not None:
                who += f" (pid {said.pid} on {said.host})"
                if said.host == platform.node() and system.fate(said.pid) == "stopped":
                    who += ", which somebody has stopped,"
            silent.append(who)
        if not silent:
            return None
        fact = f"{' and '.join(silent)} {'have' if len(silent) > 1 else 'has'} not been heard of"
        fact += f" for {seconds:.0f} s"
        return _lost(fact, f"{VARIABLE}=SECONDS says how long to wait for a word")


def ended_by(error: BaseException, rank: int, size: int) -> End:
    """Return what the others are told of an error: its class, its problems and its exit code."""
    if isinstance(error, RecurraError):
        return type(error), error.problems, error.exit_code
    who = f"process {rank} of {size}"
    if isinstance(error, KeyboardInterrupt):
        asked = Interrupted.because(error, f"{who} was asked to end, and so all end", "")
        return Interrupted, asked.problems, asked.exit_code
    text = str(error).partition("\n")[0]
    failed = _lost(f"{who} failed with {type(error).__name__}: {text}")
    return RunError, failed.problems, failed.exit_code


def patience() -> float:
    """Return for how many seconds a process may not be heard of.

    Raises `InputError` (RC080) where the environment says what is no number.
    """
    said = os.environ.get(VARIABLE, "")
    if not said:
        return SILENCE
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 1e6:
        fact = f"{VARIABLE}={said!r} of the environment is no number of seconds from 1 to 1e6"
        raise InputError.of("RC080", fact, cure=f"unset it for {SILENCE:.0f}")
    return seconds


def soon(talk: Callable[[], T]) -> T | None:
    """Return what a talk with the store gives, or None where that fails or is out of reach.

    A store on a machine that no wire leads to answers nothing, and refuses nothing.
    """
    given: list[T] = []

    def work() -> None:
        with suppress(RuntimeError, OSError):
            given.append(talk())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SOON)
    return given[0] if given else None


def of_talk(error: RuntimeError) -> bool:
    """Tell whether an error is one of the processes' talk, and not of their work."""
    from torch import distributed

    signs = ("gloo", "NCCL", "ProcessGroup", "onnection")
    return isinstance(error, distributed.DistError) or any(sign in str(error) for sign in signs)


def end_now(text: str, code: int) -> None:
    """Say why, and end this process at once, whatever it waits for."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
    os._exit(code)


def _lost(fact: str, cure: str = "") -> RunError:
    return RunError.of("RC064", fact, cure=cure)


def _key(rank: int) -> str:
    return f"recurra/said/{rank}"
