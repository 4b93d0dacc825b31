"""One family of errors: each says what is wrong, where, what came, what is allowed and what to do.

Every problem carries a stable code (`RC0xx`); `recurra plugins explain RC011` prints the entry of
`CODES` below.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any, Self

CODES: dict[str, str] = {
    "RC001": "A file could not be read: it is missing, is a directory, or permission is denied.",
    "RC002": (
        "A file is not UTF-8 text. Task files are always UTF-8; for data, set the source's"
        " `encoding`."
    ),
    "RC003": (
        "The file is not valid TOML. The place is where the reader gave up; the mistake is there or"
        " just before."
    ),
    "RC004": (
        "`extends` names a base file that cannot be used, or the chain of bases runs in a circle."
    ),
    "RC005": (
        "An override must read key=value, as in `-o cell.hidden_size=64`; the value is TOML, or"
        " else a string."
    ),
    "RC010": "A key that has no default is missing.",
    "RC011": (
        "The key does not exist in this table. Nothing is ever ignored: a misspelt key stops the"
        " task."
    ),
    "RC012": 'The value has the wrong type. Types are strict: `true` is not 1 and "64" is not 64.',
    "RC013": "The value has the right type but is not allowed.",
    "RC014": "Two keys contradict each other.",
    "RC015": (
        "The task file is written in a version of the language that this recurra does not know."
    ),
    "RC020": "No installed plugin offers a component of this kind and name.",
    "RC021": (
        "Several distributions offer this name; write the qualified name, as in `kind ="
        ' "recurra-leaky/leaky"`.'
    ),
    "RC022": (
        "The plugin that offers this component failed to load; `recurra plugins list` shows why."
    ),
    "RC030": "Two components do not fit together: one gives what the other cannot take.",
    "RC031": "The task asks for something that this component, path or device cannot do.",
    "RC040": "The data cannot be read as the source says.",
    "RC041": "There is too little data for what the task asks; the message does the arithmetic.",
    "RC042": "A value in the data is missing or is not of the kind that the column must hold.",
    "RC043": (
        'A symbol is not in the vocabulary, and the vocabulary\'s `unknown` policy is "error".'
    ),
    "RC044": (
        "The data has changed since the run was made, or while it was read: its figures would not"
        " be comparable."
    ),
    "RC045": (
        "A local plugin file has changed since the run was made, so its weights may mean something"
        " else: it runs as it is now only with `--trust`."
    ),
    "RC046": (
        "A bundle brought this code of local plugin files, and it runs only when you say so: look"
        " at it, then give `--trust`."
    ),
    "RC050": (
        "A folder cannot be written: the one for runs, for cached data, or where something new is"
        " put."
    ),
    "RC051": "The folder is not a run of recurra, or the run has no whole checkpoint.",
    "RC052": (
        "A file of a run or a checkpoint is damaged or was changed: it is missing, cannot be read,"
        " does not hold what belongs there, or its hash is not the recorded one."
    ),
    "RC053": "The disk is full, or a write failed; what was saved before is whole.",
    "RC054": (
        "The state does not belong to this run, or is damaged: another network, vocabulary or"
        " precision saved it."
    ),
    "RC055": "Another process is training this run; two at once would overwrite each other.",
    "RC056": (
        "The file is no bundle of recurra, is damaged, or was made to do harm; nothing of it was"
        " written anywhere."
    ),
    "RC060": (
        "The loss, a gradient or an update became infinite or not a number; training stopped before"
        " it reached the weights. Or a network gives what is no number, and nothing can be said."
    ),
    "RC061": "There is not enough memory for this task on this device.",
    "RC062": "A band of `[expect]` does not hold.",
    "RC063": (
        "The run was interrupted; its last checkpoint is whole, and `recurra resume` goes on"
        " from it."
    ),
    "RC064": (
        "Of several processes that work together one failed, is out of reach or does not fit the"
        " others."
    ),
    "RC065": (
        "A process in which `recurra verify` ran a task has ended without an error of recurra's: it"
        " crashed, or was killed by something else."
    ),
    "RC070": "A plugin failed: the fault is in the plugin, not in the task file.",
    "RC071": "A component's code broke the contract of its kind.",
    "RC080": "An option of the command line cannot be used here.",
}
"""What each stable code means, in words."""


WINDOW = 160
"""Characters of a source line that an error shows, at most."""
LONGEST = 4000
"""Characters of each part of a message, at most: names and values that are longer lose their
middle."""


def shortened(text: str, most: int = LONGEST) -> str:
    """Return a text without its middle, where it is longer than a message may be."""
    if len(text) <= most:
        return text
    side = most // 2 - 20
    return f"{text[:side]}... ({len(text):,} characters) ...{text[-side:]}"


@dataclass(frozen=True)
class Place:
    """Where a problem stands: a file with line and column, from 1.

    It may be a word for another origin, such as `-o`.
    """

    file: str
    line: int = 0
    column: int = 0
    text: str = ""
    width: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", shortened(self.file))

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"

    def excerpt(self) -> str:
        """Return the source line with the span underlined, where the place has a line."""
        if not self.line or not self.text:
            return ""
        number = str(self.line)
        margin = " " * len(number)

        # Of a long line the part round the span.
        first = 0
        if len(self.text) > WINDOW:
            first = max(0, self.column - 1 - WINDOW // 2)
        excerpt = self.text[first : first + WINDOW]
        start = self.column - 1 - first

        # Tabs stay tabs, so that the marks stand below what they mark.
        lead = "".join(mark if mark == "\t" else " " for mark in excerpt[:start].ljust(start))
        width = min(self.width, len(excerpt) - start)
        marks = "^" * max(1, width)
        return f"  {number} | {excerpt}\n  {margin} | {lead}{marks}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: a sentence of fact, and whatever helps to mend it."""

    code: str
    fact: str
    key: str = ""
    place: Place | None = None
    got: str = ""
    allowed: str = ""
    nearest: str = ""
    cure: str = ""

    def __post_init__(self) -> None:
        for part in ("fact", "key", "got", "allowed", "nearest", "cure"):
            object.__setattr__(self, part, shortened(getattr(self, part)))

    def render(self) -> str:
        """Return the message as it is printed."""
        message = f"{self.fact} [{self.code}]"
        where = self._where()
        if where:
            message = f"{where}: {message}"
        excerpt = self.place.excerpt() if self.place else ""
        if excerpt:
            message += f"\n{excerpt}"

        labelled = (
            ("got", self.got),
            ("allowed", self.allowed),
            ("did you mean", self.nearest),
            ("to mend it", self.cure),
        )
        for label, text in labelled:
            if text:
                message += f"\n  {label}: {text}"
        return message

    def _where(self) -> str:
        """Return the place and the key, as far as there are any."""
        if self.place is None:
            return self.key
        place = str(self.place)
        # An override names its key.
        names_key = not self.place.line and self.key in place
        if names_key or not self.key:
            return place
        return f"{place} {self.key}" if place else self.key

    def record(self) -> dict[str, Any]:
        """Return the problem as plain data, for `--json`."""
        place = self.place
        return {
            "code": self.code,
            "fact": self.fact,
            "key": self.key,
            "file": place.file if place else "",
            "line": place.line if place else 0,
            "column": place.column if place else 0,
            "got": self.got,
            "allowed": self.allowed,
            "nearest": self.nearest,
            "cure": self.cure,
        }

    def order(self) -> tuple[str, int, int, str]:
        """Return the key by which problems are sorted: file, line, column, name."""
        place = self.place or Place("")
        return place.file, place.line, place.column, self.key


class RecurraError(Exception):
    """Base of every error that recurra raises on purpose.

    `exit_code` is what the command returns; `told` is true where another process prints it.
    """

    exit_code = 1
    told = False

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        listed = [problems] if isinstance(problems, Problem) else list(problems)
        self.problems: tuple[Problem, ...] = tuple(sorted(listed, key=Problem.order))
        super().__init__("\n\n".join(problem.render() for problem in self.problems))

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[Problem, ...]]]:
        """Say how it passes from one process to another."""
        return type(self), (self.problems,)

    @classmethod
    def of(cls, code: str, fact: str, **details: Any) -> Self:
        """Build an error of one problem; `details` are the other fields of `Problem`."""
        return cls(Problem(code, fact, **details))


class InputError(RecurraError):
    """The input is wrong: task file, option or data (exit code 2)."""

    exit_code = 2


class PluginError(RecurraError):
    """A plugin is at fault (exit code 3)."""

    exit_code = 3


class RunError(RecurraError):
    """The run failed (exit code 1)."""


class Interrupted(RecurraError):
    """The user stopped the run, and its state is saved.

    The exit code is 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP.
    """

    exit_code = 130

    @classmethod
    def by(cls, number: int | None, fact: str, cure: str) -> Self:
        """Build the error of a stop by a signal, that of Ctrl-C where none is told."""
        error = cls.of("RC063", fact, cure=cure)
        if number is not None:
            error.exit_code = 128 + number
        return error

    @classmethod
    def because(cls, request: BaseException, fact: str, cure: str) -> Self:
        """Build the error that says more of a request to end, and exits as that does."""
        error = cls.of("RC063", fact, cure=cure)
        error.exit_code = exit_code_of(request)
        return error


class Terminated(KeyboardInterrupt):
    """The system asks the process to end, as Ctrl-C does: by SIGTERM or SIGHUP."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def exit_code_of(request: BaseException) -> int:
    """Return what a command exits with that was asked to end."""
    return int(getattr(request, "exit_code", Interrupted.exit_code))


class RecurraWarning(Warning):
    """Base of every warning of recurra's own; the command line prints each as one line."""


class OtherVersion(RecurraWarning, UserWarning):
    """A run is opened with other plugins, or on another path or device, than it was made with.

    It may be another version of a plugin, another execution path, or fewer threads.
    """


class Unkept(RecurraWarning, RuntimeWarning):
    """The cache folder cannot be written.

    What would be kept there is made anew in each process.
    """


class Unverified(RecurraWarning, UserWarning):
    """A run or a saved state is read that records no hashes.

    So nothing tells whether its files were changed.
    """


class Altered(RecurraWarning, UserWarning):
    """A record of a run was changed or damaged, from which nothing is computed.

    The run goes on with what can be read of it.
    """


class Unguarded(RecurraWarning, RuntimeWarning):
    """The system refuses what would guard a run, such as a lock on its files.

    The run goes on without it.
    """


class Untracked(RecurraWarning, RuntimeWarning):
    """A tracker cannot be told of a run, which goes on without it."""


class Waiting(RecurraWarning, UserWarning):
    """Another process makes what this one needs, and is waited for."""


def error_of(answer: dict[str, Any]) -> RecurraError:
    """Return the error that another process has told of, as `--json` prints it."""
    kinds: dict[int, type[RecurraError]] = {2: InputError, 3: PluginError}
    problems = [
        Problem(
            told["code"],
            told["fact"],
            told["key"],
            Place(told["file"], told["line"], told["column"]) if told["file"] else None,
            got=told["got"],
            allowed=told["allowed"],
            nearest=told["nearest"],
            cure=told["cure"],
        )
        for told in answer["error"]
    ]
    return kinds.get(answer["exit_code"], RunError)(problems)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the known name closest to a misspelt one, or an empty string."""
    folded = {candidate.lower(): candidate for candidate in names}
    matches = get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else ""


def listing(names: Iterable[str], limit: int = 20) -> str:
    """Return names joined by commas, cut after `limit` with a count of the rest."""
    ordered = sorted(names)
    text = ", ".join(ordered[:limit])
    rest = len(ordered) - limit
    if rest > 0:
        text += f" and {rest} more"
    return text


class Unsuited(RecurraWarning, UserWarning):
    """A component does not suit its data: it works, but hardly as somebody hopes."""


def warn(text: str, category: type[Warning]) -> None:
    """Warn at the line that called recurra, however deep in it the reason was found.

    What of Python's own library stands between two of its lines, as a cached property does, is not
    the caller.
    """
    own, library = f"{Path(__file__).parent}{os.sep}", sysconfig.get_path("stdlib")
    last = depth = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name, depth = frame.f_code.co_filename, depth + 1
        if name.startswith(own):
            last = depth
        elif not name.startswith((library, "<frozen ")) or "-packages" in name:
            break
        frame = frame.f_back
    warnings.warn(text, category, stacklevel=min(last + 1, depth))
