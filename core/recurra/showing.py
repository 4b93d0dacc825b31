"""The verbs of pictures: `report`, a page of runs, and `plot`, one picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from recurra.comparing.finished import finished
from recurra.comparing.folder import CompareFolder
from recurra.comparing.pictured import head_of, pictures
from recurra.drawing import Picture
from recurra.errors import InputError
from recurra.generate import arguments
from recurra.job.opening import opened
from recurra.reporting.page import Page, page, page_of
from recurra.reporting.saving import drawn
from recurra.reporting.view import View
from recurra.runs import files
from recurra.runs.folder import RunFolder

DEFAULT = "report.html"
MOST = 50
"""Runs of a page, at most."""


@dataclass(frozen=True)
class Reported:
    """A page that was written: where, how large, which pictures it shows and which it has not."""

    path: Path
    bytes: int
    pictures: list[str]
    left_out: dict[str, str]


def report(
    runs: str | PathLike[str] | Iterable[str | PathLike[str]],
    output: str | PathLike[str] = DEFAULT,
    *,
    trust: bool = False,
) -> Path:
    """Write one page of HTML that shows one or several runs, and return its path.

    The page holds all that it shows in at most 1 MB, and loads nothing from elsewhere: verdict and
    figures, curves of training, what the network does, the task, what it was made with. Each
    picture has its data as csv. A run is a folder, a task's folder for its newest run, or itself a
    run; one that failed or was interrupted shows what there is of it.

    The folder of a comparison, alone, has a page that shows what it came to.

    Raises `InputError` (RC051) for what is no run and (RC080) for an output that is not named
    `.html`, `RunError` (RC053) where the page cannot be written. `trust` is that of `recurra.load`.
    """
    return reported(runs, output, trust).path


def reported(
    runs: str | PathLike[str] | Iterable[str | PathLike[str]],
    output: str | PathLike[str] = DEFAULT,
    trust: bool = False,
) -> Reported:
    """Write the page of `report`, and tell what it shows."""
    path = arguments.path("output", output)
    if path.suffix.lower() not in (".html", ".htm"):
        fact = f"{path} does not end as a page does"
        raise InputError.of("RC080", fact, allowed="a name that ends with .html, .htm")
    files.check_writable(path)
    trusted = arguments.flag("trust", trust)
    alone = isinstance(runs, str | PathLike) or not isinstance(runs, Iterable)
    listed: list[Any] = [runs] if alone else list(runs)  # type: ignore[arg-type]
    if any(_compared(each) for each in listed):
        return _written(path, _comparison(listed))
    views = {view.path.resolve(): view for view in (view_of(each, trusted) for each in listed)}
    if not 1 <= len(views) <= MOST:
        fact = f"a page shows no {len(views):,} runs" if views else "no run is named"
        raise InputError.of("RC080", fact, allowed=f"1 to {MOST} runs")

    return _written(path, page([*views.values()]))


def _compared(asked: Any) -> bool:
    """Tell whether a folder is that of a comparison, or holds such."""
    return CompareFolder.found(arguments.path("run", asked)) is not None


def _comparison(listed: Sequence[Any]) -> Page:
    """Return the page of a comparison. Raises `InputError` (RC051, RC080) and `RunError`."""
    if len(listed) > 1:
        fact = "a comparison has a page of its own"
        raise InputError.of("RC080", fact, cure="name it alone, and give runs another page")
    made = finished(arguments.path("run", listed[0]))
    return page_of(f"{made.task}: {made.metric}", head_of(made), [*pictures(made)])


def _written(path: Path, made: Page) -> Reported:
    """Write a page, whole or not at all."""
    content = made.text.encode("utf-8", "replace")
    with files.streamed(path, binary=True) as file:
        file.write(content)
    return Reported(path, len(content), made.shown, made.left_out)


def plot(
    run: str | PathLike[str],
    name: str,
    output: str | PathLike[str] | None = None,
    *,
    layer: int | None = None,
    trust: bool = False,
) -> Picture:
    """Return a picture of a run by its name, and write it where an `output` is named.

    Of `states` and `gates` a `layer`, counted from 1, is drawn alone. How it is written its name
    tells: `.svg`, `.png` (needs the extra `plot`), or `.csv` for the data of it. Raises
    `InputError` (RC080) for a name that there is not or that does not apply to this run, with those
    that do, (RC051) for what is no run, and `RunError` (RC053).
    """
    return drawn(view_of(run, arguments.flag("trust", trust), layer), name, output)


def view_of(run: Any, trust: bool = False, layer: Any = None) -> View:
    """Return what is drawn of a run, of one `layer` alone if that is told.

    Raises `InputError` (RC051) for what is no run, and (RC080) for what is no layer.
    """
    folder = RunFolder.open(arguments.path("run", run))
    layer = None if layer is None else arguments.whole("layer", layer, 1)
    return View(folder, lambda: opened(folder, "best", trust), layer)
