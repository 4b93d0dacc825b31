"""Runs, plugins and other files as an earlier recurra wrote them; README.md beside this says what
is here.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from recurra import errors
from recurra.data.corpus import build
from recurra.data.store import Store
from recurra.generate.sampling import Sampling
from recurra.generate.session import Session
from recurra.job.run import Run
from recurra.model.probe import counts_steps
from recurra.resolve import resolve

HERE = Path(__file__).resolve().parent
SITE = HERE / "site"
PLUGIN = "recurra_keepsake"
STEPS, STOP = 5, 3
"""Steps of each run, and how many of them were made: `resume` has two left."""
DRAWS = 12


def names() -> list[str]:
    """Return the names of the runs."""
    return sorted(path.name for path in (HERE / "runs").iterdir())


def recorded() -> dict[str, Any]:
    """Return the figures that stand beside the runs."""
    return dict(json.loads((HERE / "figures.json").read_text(encoding="utf-8")))


def copied(name: str, folder: Path, home: Path = HERE) -> Path:
    """Copy a run, and the data that it was made from, into a folder; return the run."""
    for part in (f"runs/{name}", "data"):
        shutil.copytree(home / part, folder / part, dirs_exist_ok=True)
    return folder / "runs" / name


@contextmanager
def installed(site: Path = SITE) -> Iterator[None]:
    """Install the plugins for a while: put the unpacked wheel where Python looks for modules."""
    with mock.patch.object(sys, "path", [str(site), *sys.path]):
        try:
            yield
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == PLUGIN]:
                del sys.modules[name]


def figures(run: Run) -> dict[str, Any]:
    """Return what a run says of itself: the metrics of the split that it is judged by, and what it
    generates.
    """
    return {"metrics": run.evaluate()["metrics"], "generated": run.generated()}


def trained(run: Run) -> dict[str, Any]:
    """Return what a run says once it has been trained to its end: its result, and the loss at each
    step.
    """
    losses = {
        str(record["step"]): record["loss"]
        for record in run.metrics()
        if record["split"] == "train"
    }
    return {
        "metrics": run.result["metrics"],
        "generated": run.result["generated"],
        "losses": losses,
    }


def opened(run: Run) -> Session:
    """Return a session that has read something: two streams of symbols, each on a way of its own,
    or numbers.
    """
    if run.vocabulary.yields == "numbers":
        session = run.session(position=3 * counts_steps(run.network)).feed([10.0, 20.0, 30.0])
        session.forecast_step()
        return session
    session = run.session(seed=7, streams=2).feed(run.prompt())
    for _ in range(3):
        session.draw(Sampling(temperature=1.0))
    return session


def onward(session: Session) -> list[Any]:
    """Return what a session gives next."""
    if session.vocabulary.yields == "numbers":
        return [session.forecast_step().tolist() for _ in range(DRAWS)]
    return [session.draw(Sampling(temperature=1.0, top_k=8)).tolist() for _ in range(DRAWS)]


def stored(task: Path, cache: Path) -> tuple[Store, dict[str, Any]]:
    """Return the corpus of a task, kept in a cache folder however small it is, and what its
    vocabulary learned.
    """
    parts = resolve(task).parts
    vocabulary = parts["vocabulary"].build()
    with mock.patch.dict(os.environ, RECURRA_CACHE=str(cache)):
        return (
            build(parts["source"].build(), vocabulary, in_memory=1, identity="witness"),
            vocabulary.save(),
        )


@contextmanager
def own_warnings_alone() -> Iterator[None]:
    """Let recurra warn as it may, and make an error of every other warning."""
    with warnings.catch_warnings(action="error"):
        for category in vars(errors).values():
            if isinstance(category, type) and issubclass(category, Warning):
                warnings.simplefilter("ignore", category)
        yield
