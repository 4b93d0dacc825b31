"""A new run, from a task that is resolved to its last update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recurra.attribution import blaming
from recurra.compatibility import check_compatibility
from recurra.engine.choice import Choice
from recurra.errors import InputError, Problem
from recurra.job import sharing
from recurra.job.build import build_optimizer, fresh_network, sized
from recurra.job.data import Data, load_data
from recurra.job.describe import describe
from recurra.job.paths import Execution
from recurra.job.preflight import preflight
from recurra.job.run import Run
from recurra.job.start import Start
from recurra.job.tracking import Trackers
from recurra.job.train import tell, train
from recurra.model.device import arithmetic
from recurra.model.network import Network
from recurra.randomness import SCHEME
from recurra.resolved import Part, Resolved
from recurra.runs.folder import RunFolder
from recurra.train.events import Observer
from recurra.world import world


@dataclass(frozen=True)
class Prepared:
    """A task of which nothing is left that can be refused before its first update."""

    resolved: Resolved
    data: Data
    network: Network
    choices: list[Choice]
    origin: Start | None
    execution: Execution | None = None

    def trained(
        self,
        folder: RunFolder,
        observer: Observer,
        until: int | None = None,
        judged: bool = True,
        trackers: Sequence[Part] = (),
    ) -> Run:
        """Train it in a folder of its own, up to a step if there is one, and tell `trackers`.

        What comes of it is measured where it is to be `judged`. Raises `RunError`, or
        `Interrupted`, its state saved.
        """
        resolved, data, network, here = self.resolved, self.data, self.network, world()
        with (
            sharing.held(folder),
            blaming(resolved),
            arithmetic(resolved.task.device),
            sized(resolved, network, self.execution),
        ):
            record = None if self.origin is None else self.origin.record()
            parts = folder, resolved, data, network, self.choices, record, self._scheme, here.size
            # For the first, alone, there is one.
            here.alone(lambda: describe(*parts))
            tell(observer, [*(self.origin.lines() if self.origin else []), *data.times()])
            learned = data.vocabulary, data.answers
            this = Run(folder, resolved, *learned, network, self._scheme, data.covariates)
            this.trackers = Trackers.of(folder, trackers, resolved.catalog)
            return train(this, data, observer, until=until, judged=judged)

    @property
    def _scheme(self) -> int:
        """How its random numbers are made."""
        return SCHEME if self.execution is None else self.execution.randomness


def _begun_elsewhere(origin: Start) -> Problem:
    """Return the problem of a calibration whose model would begin with what another run learned."""
    fact = f"{origin.owner} may have learned from what a calibration must not have seen"
    cure = 'target.conformal = "none", or train without --from'
    return Problem("RC031", fact, "target.conformal", cure=cure)


def prepared(
    resolved: Resolved, origin: Start | None = None, execution: Execution | None = None
) -> Prepared:
    """Read the data of a task, build its network and rehearse all that training will ask of them.

    What begins from another run takes what that says. The paths are those of an `execution` that
    another run of such a network records, else the fastest. Raises `InputError` or `PluginError`.
    """
    with blaming(resolved), arithmetic(resolved.task.device):
        sharing.agree_on(resolved)
        check_compatibility(resolved)
        if origin is not None and resolved.target.conformal != "none":
            raise InputError([resolved.place(_begun_elsewhere(origin))])
        loaded = sharing.shared_out(
            lambda: load_data(resolved) if origin is None else origin.data(resolved)
        )
        network, choices = fresh_network(resolved, loaded, execution)
        sharing.check(resolved, network)
        if origin is not None:
            origin.give(network, resolved, loaded)
        build_optimizer(resolved, network)  # for its faults alone: training builds its own

        with sized(resolved, network, execution):
            world().alone(lambda: preflight(resolved, loaded, network))
    return Prepared(resolved, loaded, network, choices, origin, execution)
