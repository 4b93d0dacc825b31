"""What a target owes to its users: no answer hangs on company, nor a second one on the first."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.target import Past, Target, Window
from recurra.model.network import Network
from recurra.testing.answers import demand
from recurra.testing.belongings import changed, owned, written_on
from recurra.testing.check import Measured, NotApplicable, check
from recurra.testing.checks.target.answers import SINCE
from recurra.testing.measure import FLOAT64, gap, worst
from recurra.testing.questions import SEASON, SHORT, Case, given, measured, relative
from recurra.testing.subjects.target import TargetSubject


@check("T10", "alone, among others, and loaded again", "target", firm=True, since=SINCE)
def company(subject: TargetSubject) -> Measured:
    """Each question is asked once, and answered the same alone, among others, in short windows.

    So it is where another instance asks.

    A run is loaded by building target and network anew from the same options: what it scores, and
    from what a sequence is answered, hang on these alone. To mend it: let `pooling` and `scored`
    follow from the options and from what a row itself shows.
    """
    findings = []
    for case in subject.cases():
        target = subject.target()
        network = case.network(target)
        whole = measured(case, target, network)
        count = _questions(subject, case, target)
        fact = f"{case.reads}: {whole.steps} answers are scored, and it says {count}"
        demand(whole.steps == count, fact)
        fact = f"{case.reads}: nothing is scored of {len(case.store)} elements"
        demand(count > 0, fact)

        # A run is loaded by building everything anew, and taking the weights.
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
            fact = f"{case.reads}, {name}: {way.steps} answers are scored, not {whole.steps}"
            demand(way.steps == whole.steps, fact)
            of_outputs = gap(way.sorted(), whole.sorted(), "outputs")
            what = f"{case.reads}, {name}"
            findings.append(Measured(of_outputs, FLOAT64, what))
            of_figures = relative(way.values(), whole.values())
            what = f"{case.reads}, figures {name}"
            findings.append(Measured(of_figures, FLOAT64, what))

        if subject.follows:
            _given_alike(case, target, network, loaded)
        value = gap(_each_alone(case, target, network), whole.sorted(), "outputs")
        findings.append(Measured(value, FLOAT64, f"{case.reads}, each alone"))
    return worst(findings)


def _given_alike(case: Case, target: Target[Any], network: Network, loaded: Network) -> None:
    """Raise `Broken` if what a network answers by itself hangs on company, order or loading."""
    order = range(len(case.store.starts))
    among_all = given(case, target, network, 64, order)
    ways = {
        "one prompt at a time": given(case, target, network, 1, order),
        "backwards, by three": given(case, target, network, 3, order[::-1]),
        "loaded again": given(case, target, loaded, 64, order),
    }
    for name, answers in ways.items():
        demand(answers == among_all, f"{case.reads}, {name}: other answers are given")


def _each_alone(case: Case, target: Target[Any], network: Network) -> Tensor:
    """Return the outputs for sequences one by one, sorted together."""
    parts = []
    for row in range(len(case.store.starts)):
        tally = measured(case, target, network, only=[row])
        # Of a sequence that is too short, nothing is scored.
        if tally.steps:
            parts.append(tally.sorted())
    return torch.cat(parts).sort().values


def _questions(subject: TargetSubject, case: Case, target: Target[Any]) -> int:
    """Return how many answers are scored, counted sequence by sequence."""
    if subject.by_sequence:
        return len(case.store.starts)

    if case.asked is not None:
        # Each symbol of the answers, and their ends.
        return int((case.store.ends - case.asked).sum())

    count, reader = 0, case.reader(target)
    for low, high in zip(case.store.starts, case.store.ends, strict=True):
        # The last elements have no answer: it would lie past the end.
        steps = (high - low)[None] - target.reach
        if steps[0] > 0:
            batch = reader.cut(low[None], steps, low[None])
            flags = subject.scored(target, Window(batch.x, batch.y, batch.position))
            count += _ahead(target, flags[0]) if target.ahead else int(flags.sum())
    return count


def _ahead(target: Target[Any], flags: Tensor) -> int:
    """Return how many elements are asked ahead of the origins of a sequence, all but its last."""
    origins = torch.nonzero(flags)[:, 0].tolist()
    if target.last_origin:
        last = max(len(flags) - target.ahead, 0)
        origins = [step for step in origins if step == last]
    return sum(min(target.ahead, len(flags) - step) for step in origins)


@check("T12", "what is known beforehand is the past", "target", firm=True, since=SINCE)
def looks_back(subject: TargetSubject) -> Measured:
    """What `base` says of the steps ahead hangs on nothing that comes after an origin.

    Nor does it hang on another series, or on which other origins are asked together with it. What
    follows is asked of the network, which adds its answer to what `base` says: one that has looked
    ahead has the answer, and every figure is too good. To mend it: ask `ago` and `first` of what it
    is given, and `read` nothing.
    """
    findings = []
    for case in subject.cases():
        target = subject.target()
        if not (target.ahead and target.added):
            raise NotApplicable("it says nothing beforehand")
        for begin, end in zip(case.store.starts.tolist(), case.store.ends.tolist(), strict=True):
            origins = np.arange(begin, end)
            together = _base(case, target, begin, origins, range(begin, end))
            for row, origin in enumerate(origins.tolist()):
                seen = range(begin, origin + 1)
                alone = _base(case, target, begin, origins[row : row + 1], seen)
                fact = f"{case.reads}: at step {origin - begin} base looks past it, or is no number"
                demand(bool(np.isfinite(alone).all()), fact)
                apart = gap(torch.from_numpy(alone[0]), torch.from_numpy(together[row]), "base")
                findings.append(Measured(apart, FLOAT64, f"{case.reads}, alone"))
    return worst(findings)


def _base(
    case: Case,
    target: Target[Any],
    begin: int,
    origins: NDArray[np.int64],
    known: range,
) -> NDArray[np.float64]:
    """Return what is said beforehand of some origins, where only some elements are `known`."""
    values = case.vocabulary.encode(case.store.values)
    hidden = [at not in known for at in range(len(values))]
    values[hidden] = np.nan

    def read(places: NDArray[np.int64]) -> NDArray[np.float64]:
        return values[np.clip(places, 0, len(values) - 1)]

    start = np.full(len(origins), begin)
    said = target.base(Past(read, start, origins, target.ahead, SEASON))
    shape = (len(origins), target.ahead, values.shape[1])
    fact = f"base gives {type(said).__name__} {np.shape(said)}, not numbers {shape}"
    demand(isinstance(said, np.ndarray) and said.shape == shape, fact)
    return np.asarray(said, np.float64)


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
        # A first use may fill a cache.
        _used(subject, case, target, network)
        before, options = owned(target), written_on(target.options)
        _used(subject, case, target, network)
        name = changed(before, owned(target), opaque=False)
        demand(not name, f"using it changes {name}")
        demand(written_on(target.options) == options, "using it writes on its options")


def _used(subject: TargetSubject, case: Case, target: Target[Any], network: Network) -> None:
    """Ask a target for what counts, figures and the verdict."""
    tally = measured(case, target, network)
    row = tally.values()
    tally.columns()
    tally.detail()
    target.judged(case.kind, [row], case.columns)
    subject.figures(target, case)
