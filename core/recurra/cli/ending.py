"""How a command ends that goes wrong: errors and warnings on stderr, and an exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recurra.cli.common import print_json
from recurra.errors import Problem, RecurraError, RecurraWarning


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """Print recurra's own warnings as one line on stderr, each time; any other as Python does."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RecurraWarning)
        show = warnings.showwarning

        def shown(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, RecurraWarning):
                print(f"warning: {message}", file=sys.stderr)
            else:
                show(message, category, *place, **more)

        warnings.showwarning = shown
        yield


def report(error: RecurraError, as_json: bool) -> int:
    """Print what is wrong, and return the exit code that says whose it is."""
    sys.stdout.flush()
    print(
        "\n".join(f"error: {problem.render()}\n" for problem in error.problems).rstrip(),
        file=sys.stderr,
    )
    if as_json:
        print_json(
            {
                "error": [problem.record() for problem in error.problems],
                "exit_code": error.exit_code,
            }
        )
    return error.exit_code


def misused(error: Any, as_json: bool) -> int:
    """Report a command that cannot be read: an unknown option, a missing argument."""
    if close := getattr(error, "possibilities", None):
        error.message += f". Did you mean {' or '.join(map(repr, close))}?"
        error.possibilities = []
    error.show()
    if as_json:
        problem = Problem("RC080", error.format_message())
        print_json({"error": [problem.record()], "exit_code": error.exit_code})
    return int(error.exit_code)
