"""A trained run: evaluate it, generate from it, open a session over it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from numpy.typing import NDArray
from pydantic import ValidationError

from recurra.blame import blaming
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.splits import SPLITS, SplitName
from recurra.errors import InputError, Problem
from recurra.generate import arguments, beginning, loop
from recurra.generate.sampling import Sampling
from recurra.generate.session import Session
from recurra.job.build import sized
from recurra.job.forecasts import Figures
from recurra.job.reopen import same_data, same_vocabulary
from recurra.job.results import figures
from recurra.model.device import arithmetic
from recurra.model.network import Network
from recurra.model.probe import counts_steps
from recurra.resolve import Resolved
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
        network: Network,
        scheme: int,
    ) -> None:
        self.folder, self.path = folder, folder.path
        self.resolved, self.task = resolved, resolved.task
        self.vocabulary = vocabulary
        self.network = network
        self.scheme = scheme  # of random numbers
        self.result: dict[str, Any] = {}
        self.steps_before = 0  # made before this process took the run up

    def __repr__(self) -> str:
        return f"<Run {self.path}: {self.task.name}, {sum(p.numel() for p in self.network.parameters()):,} parameters>"

    def metrics(self) -> list[dict[str, Any]]:
        """Return every record of training, validation and evaluation."""
        return self.folder.metrics()

    def evaluate(self, split: SplitName | None = None) -> Figures:
        """Return metrics, baselines and verdict of a split; by default of test, else validation, else train.

        Raises `InputError` (RC041) if the split is empty, and (RC044) if the data is not what the run was made from.
        """
        if split is not None:
            arguments.one_of("split", split, SPLITS)
        with blaming(self.resolved), arithmetic(self.task.device):
            data = same_data(self.folder, self.resolved)
            same_vocabulary(self.folder, data, self.vocabulary)
            name = data.held_out() if split is None else split
            if not data.splits[name].steps:
                raise InputError.of("RC041", f"the {name} split of this task is empty", cure=f"use {data.held_out()}")
            with sized(self.resolved, self.network):
                return figures(self.task, data, self.network, name)

    def session(self, seed: int | None = None, streams: int = 1, position: int = 0) -> Session:
        """Return a session that has read nothing yet; the first element that it is fed stands at `position`.

        Raises `InputError` (RC080) for arguments that are wrong or have no use: for numbers a seed and several streams,
        for an encoder without a clock a position.
        """
        self._check_clock(position)
        return self._session(seed, streams, position)

    def _session(self, seed: int | None, streams: int, position: int) -> Session:
        """Return a session at a position of the data, which may be one that no clock reads."""
        if seed is not None and self.vocabulary.yields == "numbers":
            raise InputError.of("RC080", "seed is for symbols: a forecast is the same every time")
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

        Gives text as it becomes certain for symbols (a list of texts where `streams` is above 1), and the next numbers
        in the data's units for series. `sampling` takes temperature, top_k, top_p, min_p, repetition_penalty and stop.
        The prompt itself, which begins at `position` of its sequence, is not given again. With `warm` the end of the
        training text, or of the series, is read before it. Raises `InputError` (RC043, RC080) before the first step.
        """
        settings = self._settings(length, sampling)
        chosen = self.task.generation.prompt if prompt is None else prompt
        self._check_position(chosen, position)
        position = settings.position if position is None else position
        warm = settings.warm if warm is None else arguments.flag("warm", warm)
        self._check_draws(settings, seed, streams)
        session = beginning.begun(partial(self._session, seed, streams), self.folder, chosen, position, warm)
        session.expected()  # raises now, not at the first step, if nothing was read
        if self.vocabulary.yields == "numbers":
            steps = self._guarded(loop.numbers(session, settings.length))
            return (float(row[0]) if len(row) == 1 else row.tolist() for row in steps)
        fields = Sampling.__dataclass_fields__
        rule = Sampling(**{name: getattr(settings, name) for name in fields})
        texts = self._guarded(loop.symbols(session, settings.length, rule, settings.stop))
        return texts if streams > 1 else ("".join(parts) for parts in texts)

    def _check_position(self, prompt: Any, position: int | None) -> None:
        """Refuse a position that nothing would read. Raises `InputError` (RC080)."""
        if position is None:
            return
        self._check_clock(position)
        if prompt is None:
            fact = "position is that of a prompt, and there is none: what generation goes on from knows its own"
            raise InputError.of("RC080", fact, cure="give a prompt, or leave position out")

    def _check_clock(self, position: int) -> None:
        """Refuse a position above 0 where no encoder counts steps. Raises `InputError` (RC080)."""
        if arguments.whole("position", position) and not counts_steps(self.network):
            raise InputError.of("RC080", "position is for an encoder with a clock, and this one has none")

    def _check_draws(self, settings: Generation, seed: int | None, streams: int) -> None:
        """Refuse what tells draws apart where nothing is drawn. Raises `InputError` (RC080)."""
        if self.vocabulary.yields == "numbers" or settings.temperature:
            return
        why, cure = "and at temperature 0 nothing is drawn: the likeliest is taken", "give a temperature above 0"
        if seed is not None:
            raise InputError.of("RC080", f"seed decides what is drawn, {why}", cure=cure)
        if arguments.whole("streams", streams, 1) > 1:
            raise InputError.of("RC080", f"streams differ in what is drawn, {why}", got=f"{streams}", cure=cure)

    def _guarded(self, steps: Iterator[T]) -> Iterator[T]:
        """Give the steps; what goes wrong in one names who is at fault."""
        with blaming(self.resolved):
            yield from steps

    def prompt(self) -> str:
        """Return the text that generation goes on from by default; nothing for numbers."""
        given = self.task.generation.prompt
        if self.vocabulary.yields == "numbers":
            return ""
        if given is None:
            return self.vocabulary.text(self._opening())
        return given if isinstance(given, str) else " ".join(str(token) for token in given)

    def _opening(self) -> NDArray[Any]:
        return beginning.recorded(self.vocabulary, self.folder, "opening")

    def _settings(self, length: int | None, sampling: dict[str, Any]) -> Generation:
        """Return the task's generation table with what the caller changes. Raises `InputError` (RC080)."""
        changed = {name: value for name, value in sampling.items() if value is not None}
        if self.vocabulary.yields == "numbers" and changed:
            raise InputError.of("RC080", f"{', '.join(changed)}: for symbols alone; numbers are forecast")
        if length is not None:
            changed["length"] = length
        try:
            settings = Generation.model_validate({**self.task.generation.model_dump(), **changed})
        except ValidationError as error:
            problems = checking.unplaced(error, changed, Generation)
            raise InputError(_of_argument(problem, changed) for problem in problems) from error
        idle = [name for name in settings.idle if name in changed]  # the task's own wait for another temperature
        if idle:
            raise InputError.of("RC080", f"{idle[0]} {IDLE}", cure="give a temperature above 0")
        return settings

    def generated(self, limit: int | None = None) -> Any:
        """Return what the task's `[generation]` table asks for, whole: prompt and text, or a list of numbers."""
        length = self.task.generation.length if limit is None else min(limit, self.task.generation.length)
        steps = self.generate(length=length)
        if self.vocabulary.yields == "numbers":
            return list(steps)
        return self.prompt() + "".join(steps)


def _of_argument(problem: Problem, given: dict[str, Any]) -> Problem:
    """Return the problem of an argument of `generate`, with what came."""
    name = re.match(r"\w*", problem.key)[0]  # type: ignore[index]
    return replace(problem, code="RC080", got=arguments.shown(given[name]) if name in given else "")
