"""How a command ends that goes wrong: errors and warnings on stderr, and an exit code."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from recurra.cli.common import print_json
from recurra.errors import Problem, RecurraError, RecurraWarning, exit_code_of
from recurra.train.interrupt import REQUESTS, end
from recurra.world import ending, leads


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """Print recurra's own warnings as one line on stderr, each time; any other as Python does."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RecurraWarning)
        default = warnings.showwarning

        def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, RecurraWarning) and not leads():
                return
            if issubclass(category, RecurraWarning):
                print(f"warning: {message}", file=sys.stderr)
            else:
                default(message, category, *place, **more)

        warnings.showwarning = show
        yield


class Stopped(Exception):
    """A command that was asked to end, and has nothing to say of what is saved."""

    def __init__(self, request: KeyboardInterrupt) -> None:
        super().__init__("interrupted")
        self.exit_code = exit_code_of(request)


def at_once(number: int, frame: FrameType | None) -> None:
    """End the process, of which nothing is left to do but to end.

    One of several that has a fault to tell does so first: torchrun asks those that are left to end,
    while they say who is lost.
    """
    if not ending():
        os._exit(128 + number)


def unless_ending(number: int, frame: FrameType | None) -> None:
    """End what is called, but where one of several processes ends already, and is to say why."""
    if not ending():
        end(number, frame)


def leaving() -> None:
    """Keep the exit code that is that of a fault, whatever asks for an end while Python ends.

    Python takes its own handlers away before it is at its end, and leaves what is ignored so.
    """
    if ending():
        for number in REQUESTS:
            signal.signal(number, signal.SIG_IGN)


def report(error: RecurraError, as_json: bool) -> int:
    """Print what is wrong, and return the exit code that says whose it is.

    Of several processes one prints what all have met.
    """
    _tell_launcher(error)
    if error.told:
        return error.exit_code
    sys.stdout.flush()  # what was printed before it stands before it
    messages = [f"error: {problem.render()}\n" for problem in error.problems]
    print("\n".join(messages).rstrip(), file=sys.stderr)
    if as_json:
        _print_error(error.problems, error.exit_code)
    return error.exit_code


def _tell_launcher(error: RecurraError) -> None:
    """Leave for torchrun what it is to show of this process, where it asks for that."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path:
        return
    said = {"message": str(error), "extraInfo": {"timestamp": str(int(time.time()))}}
    with suppress(OSError), open(path, "w", encoding="utf-8") as file:
        json.dump({"message": said}, file)


def misused(error: Any, as_json: bool) -> int:
    """Report a command that cannot be read: an unknown option, a missing argument."""
    if close := getattr(error, "possibilities", None):
        names = " or ".join(map(repr, close))
        error.message += f". Did you mean {names}?"
        error.possibilities = []  # or they would be told twice
    if leads():
        error.show()
    if as_json:
        problem = Problem("RC080", error.format_message())
        _print_error([problem], error.exit_code)
    return int(error.exit_code)


def _print_error(problems: Iterable[Problem], exit_code: int) -> None:
    records = [problem.record() for problem in problems]
    print_json({"error": records, "exit_code": exit_code})
