"""A trained run: evaluate it, generate from it, open a session over it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray
from pydantic import ValidationError

from recurra.attribution import blaming
from recurra.contracts.vocabulary import Vocabulary
from recurra.data import intake
from recurra.data.splits import SPLITS, SplitName
from recurra.errors import InputError, Problem
from recurra.generate import arguments, beginning
from recurra.generate.elements import ELEMENTS
from recurra.generate.session import Session
from recurra.job.build import sized
from recurra.job.forecasts import Figures
from recurra.job.predict import Predictor, gathered
from recurra.job.reopen import same_data, same_vocabulary
from recurra.job.results import figures
from recurra.model.device import arithmetic
from recurra.model.network import Network
from recurra.model.probe import counts_steps
from recurra.resolved import Resolved
from recurra.runs.folder import RunFolder
from recurra.spec import checking
from recurra.spec.tables import IDLE, Generation

T = TypeVar("T")


class Run:
    """A trained run: evaluate it, generate from it, or open a session over it."""

    def __init__(
        self,
        folder: RunFolder,
        resolved: Resolved,
        vocabulary: Vocabulary[Any],
        answers: Vocabulary[Any],
        network: Network,
        scheme: int,
    ) -> None:
        self.folder, self.path = folder, folder.path
        self.resolved, self.task = resolved, resolved.task
        self.vocabulary = vocabulary
        self.elements = ELEMENTS[vocabulary.yields]  # what differs between symbols and numbers
        self.answers = answers  # what is answered: the same, or the classes of a column
        self.network = network
        self.scheme = scheme  # of random numbers
        self.result: dict[str, Any] = {}
        self.steps_before = 0  # made before this process took the run up

    def __repr__(self) -> str:
        return (
            f"<Run {self.path}: {self.task.name},"
            f" {sum(p.numel() for p in self.network.parameters()):,} parameters>"
        )

    def metrics(self) -> list[dict[str, Any]]:
        """Return every record of training, validation and evaluation."""
        return self.folder.metrics()

    def evaluate(self, split: SplitName | None = None) -> Figures:
        """Return metrics, baselines and verdict of a split; by default of test, else validation,
        else train.

        Raises `InputError` (RC041) if the split is empty, and (RC044) if the data is not what the
        run was made from.
        """
        if split is not None:
            arguments.one_of("split", split, SPLITS)
        with blaming(self.resolved), arithmetic(self.task.device):
            data = same_data(self.folder, self.resolved)
            same_vocabulary(self.folder, data, self.vocabulary)
            name = data.held_out() if split is None else split
            if not data.splits[name].steps:
                raise InputError.of(
                    "RC041",
                    f"the {name} split of this task is empty",
                    cure=f"use {data.held_out()}",
                )
            with sized(self.resolved, self.network):
                return figures(self.task, data, self.network, name)

    def session(self, seed: int | None = None, streams: int = 1, position: int = 0) -> Session:
        """Return a session that has read nothing yet; the first element that it is fed stands at
        `position`.

        Raises `InputError` (RC080) for arguments that are wrong or have no use: for numbers a seed
        and several streams, for an encoder without a clock a position.
        """
        self._check_clock(position)
        return self._session(seed, streams, position)

    def _session(self, seed: int | None, streams: int, position: int) -> Session:
        """Return a session at a position of the data, which may be one that no clock reads."""
        self._check_generates()
        if seed is not None:
            self.elements.drawn_by("seed")
        seed = self.task.seed if seed is None else seed
        return Session(self.network, self.vocabulary, seed, streams, position, self.scheme)

    def generate(
        self,
        prompt: Any = None,
        length: int | None = None,
        *,
        seed: int | None = None,
        streams: int = 1,
        position: int | None = None,
        warm: bool | None = None,
        **sampling: Any,
    ) -> Iterator[Any]:
        """Generate, step by step; what is left out is as the task's `[generation]` table says.

        Gives text as it becomes certain for symbols (a list of texts where `streams` is above 1),
        and the next numbers in the data's units for series. `sampling` takes temperature, top_k,
        top_p, min_p, repetition_penalty and stop. The prompt itself, which begins at `position` of
        its sequence, is not given again. With `warm` the end of the training text, or of the
        series, is read before it. Raises `InputError` (RC043, RC080) before the first step.
        """
        self._check_generates()
        settings = self._settings(length, sampling)
        chosen = self.task.generation.prompt if prompt is None else prompt
        self._check_position(chosen, position)
        position = settings.position if position is None else position
        warm = settings.warm if warm is None else arguments.flag("warm", warm)
        self.elements.check_draws(settings, seed, streams)
        session = beginning.begun(
            partial(self._session, seed, streams), self.folder, chosen, position, warm
        )
        session.expected()  # raises now, not at the first step, if nothing was read
        return self._guarded(self.elements.generated(session, settings, streams))

    def _check_generates(self) -> None:
        """Refuse to go on where answers cannot be read as what comes next. Raises `InputError`
        (RC080).
        """
        if not self.resolved.target.generates:
            name = self.resolved.parts["target"].entry.component.name
            fact = f"target {name!r} answers, and what it answers cannot be read as what comes next"
            raise InputError.of("RC080", fact, cure="`recurra predict` gives its answers")

    def _check_position(self, prompt: Any, position: int | None) -> None:
        """Refuse a position that nothing would read. Raises `InputError` (RC080)."""
        if position is None:
            return
        self._check_clock(position)
        if prompt is None:
            fact = (
                "position is that of a prompt, and there is none: what generation goes on from"
                " knows its own"
            )
            raise InputError.of("RC080", fact, cure="give a prompt, or leave position out")

    def _check_clock(self, position: int) -> None:
        """Refuse a position above 0 where no encoder counts steps. Raises `InputError` (RC080)."""
        if arguments.whole("position", position) and not counts_steps(self.network):
            raise InputError.of(
                "RC080", "position is for an encoder with a clock, and this one has none"
            )

    def _guarded(self, steps: Iterator[T]) -> Iterator[T]:
        """Give the steps; what goes wrong in one names who is at fault."""
        with blaming(self.resolved):
            yield from steps

    def predict(
        self, rows: Iterable[Any] | None = None, *, file: str | Path | None = None,
        horizon: int | None = None,
        skip_bad: bool = False,
    ) -> Iterator[dict[str, Any]]:  # fmt: skip
        """Give the answer to each of some sequences, or of those in a `file` of the form of the
        run's data, in order.

        A sequence is a text, a list of tokens or of numbers, or of lists of numbers. An answer
        names its sequence, `row`, and says what is `predicted`: a class, with the chance of each as
        `p:<class>`, or what comes in the next `horizon` steps; of a text also its `nats` a symbol.
        Raises `InputError` (RC043, RC080) that names the row; with `skip_bad` that row has an
        `error` instead. Needs nothing but the folder of the run.
        """
        return self._guarded(self.predictor(horizon, skip_bad).predict(self.sequences(rows, file)))

    def predictor(self, horizon: int | None = None, skip_bad: bool = False) -> Predictor:
        """Return what answers sequences. Raises `InputError` (RC080)."""
        target = self.resolved.target
        if horizon is not None and not target.generates:
            raise InputError.of(
                "RC080", "horizon is for what goes on: this run answers each sequence"
            )
        default = self.elements.horizon(self.task.generation)
        steps = default if horizon is None else arguments.whole("horizon", horizon)
        network = self.network.eval()
        return Predictor(
            network, self.vocabulary, self.answers, target, steps, skip_bad, self._computing
        )

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Compute with the threads and the determinism of the task, and put back what was there."""
        with arithmetic(self.task.device), sized(self.resolved, self.network):
            yield

    def sequences(
        self, rows: Iterable[Any] | None, file: str | Path | None
    ) -> Iterator[tuple[str, Any]]:
        """Give sequences with their names: those of a file are read one after the other. Raises
        `InputError`.
        """
        if (rows is None) == (file is None):
            raise InputError.of("RC080", "give rows, or a file of them")
        if file is None:
            if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
                raise InputError.of(
                    "RC080", "rows must be a list of sequences", got=arguments.shown(rows)
                )
            return ((str(number), row) for number, row in enumerate(rows, 1))
        part, path = self.resolved.parts["source"], os.path.abspath(arguments.path("file", file))
        owner = part.entry.qualified
        return self._guarded(
            gathered(
                intake.pieces(part.build().over(path), self.vocabulary.reads, owner, given=True)
            )
        )

    def prompt(self) -> str:
        """Return the text that generation goes on from by default; nothing for numbers."""
        return self.elements.shown(self.vocabulary, self.task.generation.prompt, self._opening)

    def _opening(self) -> NDArray[Any]:
        return beginning.recorded(self.vocabulary, self.folder, "opening")

    def _settings(self, length: int | None, sampling: dict[str, Any]) -> Generation:
        """Return the task's generation table with what the caller changes. Raises `InputError`
        (RC080).
        """
        changed = {name: value for name, value in sampling.items() if value is not None}
        self.elements.sampled_by(changed)
        if length is not None:
            changed["length"] = length
        try:
            settings = Generation.model_validate({**self.task.generation.model_dump(), **changed})
        except ValidationError as error:
            problems = checking.unplaced(error, changed, Generation)
            raise InputError(_of_argument(problem, changed) for problem in problems) from error
        # The task's own wait for another temperature.
        idle = [name for name in settings.idle if name in changed]
        if idle:
            raise InputError.of("RC080", f"{idle[0]} {IDLE}", cure="give a temperature above 0")
        return settings

    def generated(self, limit: int | None = None) -> Any:
        """Return what the task's `[generation]` table asks for, whole: prompt and text, or a list
        of numbers.
        """
        length = (
            self.task.generation.length
            if limit is None
            else min(limit, self.task.generation.length)
        )
        steps = self.generate(length=length)
        return self.elements.whole(self.prompt(), steps)


def _of_argument(problem: Problem, given: dict[str, Any]) -> Problem:
    """Return the problem of an argument of `generate`, with what came."""
    name = re.match(r"\w*", problem.key)[0]  # type: ignore[index]
    return replace(problem, code="RC080", got=arguments.shown(given[name]) if name in given else "")
