"""A run that goes on from its last whole checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from recurra.attribution import blaming
from recurra.compatibility import check_compatibility
from recurra.job import sharing
from recurra.job.build import build_network, coming_of, sized
from recurra.job.changes import Changes
from recurra.job.describe import plugins
from recurra.job.paths import begins_inside
from recurra.job.preflight import preflight
from recurra.job.reopen import recorded_paths, relearn, same_data
from recurra.job.run import Run
from recurra.job.tracking import Trackers
from recurra.job.train import train
from recurra.model.device import arithmetic
from recurra.resolved import Part
from recurra.runs import files
from recurra.runs.folder import RunFolder
from recurra.runs.versions import warn_of_other_device, warn_of_other_paths
from recurra.train.events import Observer
from recurra.world import world


def go_on(
    folder: RunFolder,
    changes: Changes,
    observer: Observer,
    until: int | None = None,
    judged: bool = True,
    trackers: Sequence[Part] | None = None,
) -> Run:
    """Train a run on, to its end or up to a step, bit for bit where nothing changes in its task.

    What comes of it is measured where it is to be `judged`. It tells `trackers`, those that have
    followed it where that is None. Whoever calls this holds the folder (`RunFolder.held`), since
    before it read the run.
    """
    resolved = changes.asked
    with blaming(resolved), arithmetic(resolved.task.device):
        sharing.agree_on(resolved)
        if changes:
            check_compatibility(resolved)
        # It goes on on the paths that it has recorded, so that every bit is the same.
        recorded = recorded_paths(folder, resolved)
        loaded = sharing.shared_out(lambda: same_data(folder, resolved))
        network, choices = build_network(
            resolved,
            loaded.width,
            answers=loaded.answers.size,
            features=loaded.source.features(),
            missing=loaded.vocabulary.missing is not None,
            resets=begins_inside(resolved, loaded),
            execution=recorded,
            coming=coming_of(loaded.covariates),
        )
        sharing.check(resolved, network)
        relearn(network, folder)

        warn_of_other_paths(folder, recorded.paths, choices)
        warn_of_other_device(folder, str(network.device))
        with folder.telling():
            world().alone(
                lambda: folder.records.amend("plugins.json", files.json_text(plugins(resolved)))
            )

        with sized(resolved, network, recorded):
            if changes:
                world().alone(lambda: preflight(resolved, loaded, network))
            randomness = recorded.randomness
            learned = loaded.vocabulary, loaded.answers
            this = Run(folder, resolved, *learned, network, randomness, loaded.covariates)
            this.trackers = Trackers.of(folder, trackers, resolved.catalog)
            return train(this, loaded, observer, changes, until, judged)
