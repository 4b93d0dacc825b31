"""What a target owes to those who use it: an answer does not hang on company, nor a second one on
the first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.contracts.target import Target, Window
from recurra.testing.answers import demand
from recurra.testing.belongings import changed, owned, written_on
from recurra.testing.check import Measured, check
from recurra.testing.checks.target.answers import SINCE
from recurra.testing.measure import FLOAT64, gap, worst
from recurra.testing.questions import SHORT, Case, measured, relative
from recurra.testing.subjects.target import TargetSubject


@check("T10", "alone, among others, and loaded again", "target", firm=True, since=SINCE)
def company(subject: TargetSubject) -> Measured:
    """Each question is asked once, and answered the same alone, among others, in short windows.

    So it is where another instance asks.

    A run is loaded by building target and network anew from the same options: what it scores, and
    from what a sequence is answered, hang on these alone. To mend it: let `pooling` and `scored`
    follow from the options and from what a row itself shows.
    """
    found = []
    for case in subject.cases():
        target = subject.target()
        network = case.network(target)
        whole = measured(case, target, network)
        asked = _asked(subject, case, target)
        demand(
            whole.steps == asked,
            f"{case.reads}: {whole.steps} answers are scored, and it says {asked}",
        )
        demand(asked > 0, f"{case.reads}: nothing is scored of {len(case.store)} elements")
        again = subject.target()
        loaded = case.network(again)
        loaded.load_state_dict(network.state_dict())
        ways = {
            "one row at a time": measured(case, target, network, rows=1),
            "in short windows": measured(case, target, network, window=SHORT),
            "in shorter windows": measured(case, target, network, rows=3, window=SHORT - 2),
            "loaded again": measured(case, again, loaded),
        }
        for name, way in ways.items():
            demand(
                way.steps == whole.steps,
                f"{case.reads}, {name}: {way.steps} answers are scored, not {whole.steps}",
            )
            outputs_gap = gap(way.sorted(), whole.sorted(), "outputs")
            found.append(Measured(outputs_gap, FLOAT64, f"{case.reads}, {name}"))
            figures = relative(way.values(), whole.values())
            found.append(Measured(figures, FLOAT64, f"{case.reads}, figures {name}"))
        alone = [_alone(case, target, network, row) for row in range(len(case.store.starts))]
        together = torch.cat([part for part in alone if part is not None]).sort().values
        each = gap(together, whole.sorted(), "outputs")
        found.append(Measured(each, FLOAT64, f"{case.reads}, each alone"))
    return worst(found)


def _alone(case: Case, target: Target[Any], network: Any, row: int) -> Tensor | None:
    """Return the outputs for one sequence, where anything of it is scored."""
    tally = measured(case, target, network, only=[row])
    return tally.sorted() if tally.steps else None


def _asked(subject: TargetSubject, case: Case, target: Target[Any]) -> int:
    """Return how many answers are scored, counted sequence by sequence."""
    if subject.by_sequence:
        return len(case.store.starts)
    count, reader = 0, case.reader(target)
    for low, high in zip(case.store.starts, case.store.ends, strict=True):
        steps = int(high - low) - target.reach
        if steps > 0:
            batch = reader.cut(low[None], (high - low)[None] - target.reach, low[None])
            flags = subject.scored(target, Window(batch.x, batch.y, batch.position))
            count += int(flags.sum())
    return count


@check("T11", "used, it stays as it is", "target", since=SINCE)
def stays(subject: TargetSubject) -> None:
    """Whatever is asked of it, a target keeps nothing: no attribute, no option, no shared table.

    One target serves training, validation and the final figures, and a second run of the same
    process begins with another. What one of them leaves behind, all others meet. To mend it: keep
    sums in the metrics, and everything else in the options.
    """
    for case in subject.cases():
        target = subject.target()
        network = case.network(target)
        _used(subject, case, target, network)  # a first use may fill a cache
        before, options = owned(target), written_on(target.options)
        _used(subject, case, target, network)
        name = changed(before, owned(target), opaque=False)
        demand(not name, f"using it changes {name}")
        demand(written_on(target.options) == options, "using it writes on its options")


def _used(subject: TargetSubject, case: Case, target: Target[Any], network: Any) -> None:
    tally = measured(case, target, network)
    row = tally.values()
    tally.columns(), tally.detail()
    target.judged(case.kind, [row], case.columns)
    subject.figures(target, case)
