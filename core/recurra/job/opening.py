"""A run opened from its folder, with the weights of one of its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recurra.attribution import blaming
from recurra.job.build import build_network, coming_of
from recurra.job.reopen import (
    fill,
    learned_answers,
    learned_covariates,
    learned_vocabulary,
    recorded_paths,
    relearn,
    resolved_again,
)
from recurra.job.run import Run
from recurra.model.device import arithmetic
from recurra.runs.folder import RunFolder
from recurra.runs.versions import check_trusted, warn_of_others


def opened(
    folder: RunFolder,
    which: str | int,
    trust: bool = False,
    tables: Mapping[str, Any] | None = None,
) -> Run:
    """Open a run, of which `tables` are the task where its files lie elsewhere now.

    Whoever gives them vouches for the local plugins in them. Raises as `recurra.load` does.
    """
    checkpoint = folder.checkpoints.load(which)
    verified = folder.records.verify()
    warn_of_others(folder)
    if tables is None:
        check_trusted(folder, trust)
    resolved = resolved_again(folder, tables=tables)

    with blaming(resolved), arithmetic(resolved.task.device):
        # What the run has learned is read from its folder: the data may be gone.
        vocabulary = learned_vocabulary(folder, resolved, verified)
        recorded = recorded_paths(folder, resolved)
        answers = learned_answers(folder, resolved, vocabulary)
        covariates = learned_covariates(folder, resolved, vocabulary)

        width = vocabulary.size + len(vocabulary.missing or ())
        width += covariates.width if covariates else 0
        network, _ = build_network(
            resolved,
            width,
            answers=answers.size,
            features=folder.records.data().features,
            missing=vocabulary.missing is not None,
            execution=recorded,
            coming=coming_of(covariates),
        )
        relearn(network, folder)
        fill(network, checkpoint, folder)
    network.eval()
    return Run(folder, resolved, vocabulary, answers, network, recorded.randomness, covariates)
