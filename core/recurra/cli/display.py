"""A run as it goes: a progress bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from recurra.cli.printing import in_short
from recurra.cli.streams import OutputLost
from recurra.cli.visible import visible
from recurra.contracts.metric import Metrics
from recurra.job.train import Silent
from recurra.train.events import Listener, Observer, Progress, Releasing
from recurra.verifying.phases import VARIABLE, Phases


def watcher(quiet: bool = False) -> Observer:
    """Return what fits where the output goes."""
    told = os.environ.get(VARIABLE)
    if told:
        return Phases(told)
    return Silent() if quiet else progress()


def progress() -> Observer:
    """Return an observer of a run that shows how it goes, for `recurra.run(task, observer=...)`.

    It is a bar in a terminal and in a notebook that has ipywidgets, and lines elsewhere.
    """
    notebook = Console().is_jupyter and find_spec("ipywidgets") is not None
    observer: Observer = Live() if sys.stdout.isatty() or notebook else Lines()
    return Undisturbed(observer)


def describe(progress: Progress) -> str:
    """Return loss, rate and pace in a line."""
    loss = f"loss {progress.loss:z.4f}"
    rate = f"rate {progress.rate:.2g}"
    pace = f"{progress.tokens_per_second:,.0f} tokens/s"
    return f"{loss}  {rate}  {pace}"


def describe_validation(progress: Progress, metrics: Metrics, better: bool) -> str:
    """Return the figures of a validation in a line."""
    figures = "  ".join(f"{name} {value:z.4g}" for name, value in in_short(metrics).items())
    line = f"step {progress.step}  validation  {figures}"
    return f"{line}  best so far" if better else line


STEPS_PRINTED = 6
"""How many steps of a forecast its excerpt has."""


def excerpt(sample: str, width: int = 100) -> str:
    """Return the beginning of a sample on one line.

    Of a forecast these are the first steps, and how many there are.
    """
    rows = sample.split("\n")
    if len(rows) > STEPS_PRINTED and all(map(_are_numbers, rows)):
        first = ", ".join(rows[:STEPS_PRINTED])
        return f"{first}, ... {len(rows)} steps"

    line = visible(sample.replace("\n", "\\n"))
    if len(line) <= width:
        return line
    return line[: width - 3] + "..."


def _are_numbers(row: str) -> bool:
    """Tell whether a row holds numbers, one at least, and nothing else."""
    try:
        return bool([float(part) for part in row.split()])
    except ValueError:
        return False


class Undisturbed:
    """An observer whose output may be lost without a loss to the run that it watches.

    The output may be full or closed: from then on nothing is told.
    """

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def _tell(self, event: str, *details: Any) -> None:
        method = getattr(self.observer, event)
        try:
            method(*details)
        except (OutputLost, OSError):
            self.observer = Silent()

    def told(self, lines: Sequence[str]) -> None:
        """Tell what is said before training begins."""
        if isinstance(self.observer, Listener):
            self._tell("told", lines)

    def started(self, total: int, done: int) -> None:
        """Tell that training begins."""
        self._tell("started", total, done)

    def stepped(self, progress: Progress) -> None:
        """Tell an update."""
        self._tell("stepped", progress)

    def validated(self, progress: Progress, metrics: Metrics, better: bool, sample: str) -> None:
        """Tell a validation."""
        self._tell("validated", progress, metrics, better, sample)

    def finished(self, progress: Progress, why: str) -> None:
        """Tell the end."""
        self._tell("finished", progress, why)

    def released(self) -> None:
        """Let what is held go, however training ended."""
        if isinstance(self.observer, Releasing):
            self._tell("released")


class Live:
    """A progress bar with loss, rate, tokens a second and the time left."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, emoji=False)

        columns = [
            BarColumn(40),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        ]
        self.bar = Bar(*columns, console=self.console, transient=False, refresh_per_second=5)

    def told(self, lines: Sequence[str]) -> None:
        """Print lines above the bar."""
        for line in lines:
            self.console.print(visible(line), markup=False)

    def started(self, total: int, done: int) -> None:
        """Show the bar."""
        self.task = self.bar.add_task("", total=total, completed=done)
        self.bar.start()

    def stepped(self, progress: Progress) -> None:
        """Move the bar."""
        description = describe(progress)
        self.bar.update(self.task, completed=progress.step, description=description)

    def validated(self, progress: Progress, metrics: Metrics, better: bool, sample: str) -> None:
        """Print the figures and a sample above the bar."""
        figures = describe_validation(progress, metrics, better)
        self.console.print(figures, markup=False)
        if sample:
            line = f"  sample: {excerpt(sample)}"
            self.console.print(line, markup=False, style="dim")

    def finished(self, progress: Progress, why: str) -> None:
        """Leave the bar as it is."""

    def released(self) -> None:
        """Give the line of the bar back to the terminal."""
        self.bar.stop()


class Lines:
    """A line at every tenth of the run and every ten seconds, and one for each validation."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def told(self, lines: Sequence[str]) -> None:
        """Print lines."""
        for line in lines:
            print(visible(line), flush=True)

    def started(self, total: int, done: int) -> None:
        """Say how many steps there are."""
        before = f", {done} done before" if done else ""
        print(f"training: {total} steps{before}", flush=True)

    def stepped(self, progress: Progress) -> None:
        """Say where training stands, now and then."""
        tenth = max(1, progress.total // 10)
        due = progress.step % tenth == 0 or time.monotonic() - self.last > 10
        if not due:
            return

        self.last = time.monotonic()
        place = f"step {progress.step}/{progress.total}"
        left = f"{progress.seconds_left:.0f} s left"
        print(f"{place}  {describe(progress)}  {left}", flush=True)

    def validated(self, progress: Progress, metrics: Metrics, better: bool, sample: str) -> None:
        """Print the figures and a sample."""
        print(describe_validation(progress, metrics, better))
        if sample:
            print(f"  sample: {excerpt(sample)}", flush=True)

    def finished(self, progress: Progress, why: str) -> None:
        """Say why training ended."""
        print(f"training ended: {why}", flush=True)
