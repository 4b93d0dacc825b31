"""A run asked for more than its folder tells, under the arithmetic with which it was trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recurra.attribution import blaming
from recurra.data.splits import PARTS, SplitName
from recurra.job.build import sized
from recurra.job.run import Run
from recurra.model.device import arithmetic
from recurra.reporting.view import Left, View


@contextmanager
def computing(run: Run) -> Iterator[None]:
    """Compute with the threads and the determinism of a run, and say whose a fault is."""
    with blaming(run.resolved), arithmetic(run.task.device), sized(run.resolved, run.network):
        yield


def split_of(view: View) -> SplitName:
    """Return the split that the figures of a run are of. Raises `Left` where they name none."""
    for name in PARTS:
        if name == view.held_out:
            return name
    raise Left("its figures name no split")
