"""The verbs of the command line, in Python: `check`, `run`, `resume`, `load`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray
from pydantic import ValidationError

from recurra import assemble
from recurra.blame import blaming
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.splits import SPLITS, SplitName
from recurra.engine.paths import Choice
from recurra.errors import InputError, Interrupted, Problem, RunError
from recurra.fit import check_fit
from recurra.generate import arguments, beginning, loop
from recurra.generate.sampling import Sampling
from recurra.generate.session import Session
from recurra.job.train import train
from recurra.model.device import arithmetic
from recurra.model.network import Network
from recurra.model.probe import counts_steps
from recurra.preflight import preflight
from recurra.randomness import SCHEME, seeded
from recurra.reopen import (
    fill,
    learned_vocabulary,
    recorded_paths,
    resolved_again,
    same_data,
    same_vocabulary,
)
from recurra.report import report
from recurra.resolve import Resolved, resolve
from recurra.results import Figures, broken_bands, figures
from recurra.runs import files
from recurra.runs.folder import RunFolder, environment
from recurra.runs.records import reading
from recurra.runs.versions import refuse_changed_files, warn_of_changed_files, warn_of_other_paths, warn_of_others
from recurra.spec import checking
from recurra.spec.tables import IDLE, Generation
from recurra.train import state
from recurra.train.evaluate import Metrics, evaluate
from recurra.train.interrupt import listening
from recurra.train.loop import Observer, Progress

T = TypeVar("T")

SAMPLE = 200
"""Elements generated at each validation, at most."""

Overrides = Iterable[str] | Mapping[str, Any]


class Silent:
    """Watches a run and says nothing."""

    def started(self, total: int, done: int) -> None:
        """Training begins."""

    def stepped(self, progress: Progress) -> None:
        """An update was made."""

    def validated(self, progress: Progress, metrics: Metrics, better: bool, sample: str) -> None:
        """The validation split was looked at."""

    def finished(self, progress: Progress, why: str) -> None:
        """Training is over."""


def _watching(observer: Observer | None) -> Observer:
    """Return who watches a run. Raises `InputError` (RC080) for what cannot."""
    if observer is None:
        return Silent()
    arguments.observer(observer, [name for name in vars(Silent) if not name.startswith("_")])
    return observer


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
            with assemble.sized(self.resolved, self.network):
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


def check(task: str | Path, overrides: Overrides = ()) -> dict[str, Any]:
    """Return everything that can be known of a task without training it. Raises `InputError` or `PluginError`."""
    resolved = resolve(arguments.path("task", task), arguments.overrides(overrides))
    with blaming(resolved), arithmetic(resolved.task.device):
        check_fit(resolved)
        data = assemble.load_data(resolved)
        return report(resolved, data)


def run(
    task: str | Path,
    overrides: Overrides = (),
    *,
    runs: str | Path = "runs",
    observer: Observer | None = None,
    expect: bool = False,
) -> Run:
    """Check, train, evaluate and generate one task; return the run, with its figures in `.result`.

    With `expect`, a task without a band of `[expect]` is refused: its result would tell of none that broke.
    Raises `InputError` before anything is written, `RunError` if training fails, `Interrupted` once its state is saved.
    """
    observer = _watching(observer)
    resolved = resolve(arguments.path("task", task), arguments.overrides(overrides))
    _check_bands(resolved, expect)
    place = arguments.writable("runs", runs, resolved.task.name)
    with blaming(resolved), arithmetic(resolved.task.device):
        check_fit(resolved)
        data = assemble.load_data(resolved)
        resets = assemble.begins_inside(resolved, data)
        network, choices = assemble.build_network(resolved, data.vocabulary.size, data.names, resets=resets)
        assemble.build_optimizer(resolved, network)
        with assemble.sized(resolved, network):
            preflight(resolved, data, network)
            folder = RunFolder.create(place, resolved.task.name)
            _describe(folder, resolved, data, network, choices)
            this = Run(folder, resolved, data.vocabulary, network, SCHEME)
            return _train(this, data, observer, resume=False)


def resume(
    path: str | Path, *, observer: Observer | None = None, changed_plugins: bool = False, expect: bool = False
) -> Run:
    """Go on with a run from its last whole checkpoint, bit for bit as if it had not stopped.

    A local plugin file that was edited meanwhile is refused (RC045), unless `changed_plugins` takes it as it is
    now, and records it. Another version of an installed plugin is taken with a warning (`OtherVersion`), and
    recorded. `expect` is as in `run`. Raises `RunError` (RC052) if a file of the run is damaged or was changed.
    """
    observer = _watching(observer)
    folder = RunFolder.open(arguments.path("run", path))
    folder.records.verify()
    warn_of_others(folder)
    resolved = resolved_again(folder)
    _check_bands(resolved, expect)
    if not changed_plugins:
        refuse_changed_files(folder, [part.entry for part in resolved.used])
    with blaming(resolved), arithmetic(resolved.task.device):
        taken = recorded_paths(folder, resolved)
        data = same_data(folder, resolved)
        network, choices = assemble.build_network(
            resolved, data.vocabulary.size, resets=assemble.begins_inside(resolved, data), taken=taken
        )
        warn_of_other_paths(folder, taken.paths, choices)
        folder.records.amend("plugins.json", files.json_text(_plugins(resolved)))
        with assemble.sized(resolved, network, taken):
            this = Run(folder, resolved, data.vocabulary, network, taken.randomness)
            return _train(this, data, observer, resume=True)


def load(path: str | Path, which: str = "best") -> Run:
    """Open a run with its best weights, or its `last`.

    Raises `InputError` (RC051), `RunError` (RC052) if a file is damaged or was changed, and `PluginError` (RC070) if a
    plugin of the run is gone. Warns (`OtherVersion`) if one is of another version or its file was edited, and
    (`Unverified`) of a run that was made before files had hashes.
    """
    arguments.one_of("checkpoint", which, ("best", "last"))
    folder = RunFolder.open(arguments.path("run", path))
    checkpoint = folder.checkpoints.load(which)
    verified = folder.records.verify()
    warn_of_others(folder)
    resolved = resolved_again(folder)
    warn_of_changed_files(folder, [part.entry for part in resolved.used])
    with blaming(resolved), arithmetic(resolved.task.device):
        vocabulary = learned_vocabulary(folder, resolved, verified)
        taken = recorded_paths(folder, resolved)
        network, _ = assemble.build_network(resolved, vocabulary.size, taken=taken)
        fill(network, checkpoint, folder)
    return Run(folder, resolved, vocabulary, network.eval(), taken.randomness)


def _check_bands(resolved: Resolved, expect: bool) -> None:
    """Refuse to hold a run to bands of which it has none. Raises `InputError` (RC080)."""
    bands = resolved.task.expect.model_dump(exclude={"within"}, exclude_none=True)
    if expect and not bands:
        fact = "expect holds a run to the bands of its [expect] table, and this task has none"
        cure = "add a band, such as expect.loss_below, or leave expect out"
        raise InputError.of("RC080", fact, cure=cure)


def _plugins(resolved: Resolved) -> list[dict[str, str]]:
    """Return what plugins.json holds: where each component of a task comes from."""
    return [
        {
            "kind": part.entry.component.kind,
            "name": part.entry.qualified,
            "distribution": part.entry.plugin.distribution,
            "version": part.entry.plugin.version,
        }
        for part in resolved.used
    ]


def _describe(
    folder: RunFolder, resolved: Resolved, data: assemble.Data, network: Network, choices: list[Choice]
) -> None:
    """Write what the run is, before its first step."""
    folder.write_task(resolved.toml())
    folder.write("plugins.json", _plugins(resolved))
    folder.write("environment.json", environment(device=str(network.device), **assemble.Taken.record(choices)))
    folder.write("data.json", data.summary())
    folder.write("vocabulary.json", data.vocabulary.save())
    folder.records.seal()


def _train(this: Run, data: assemble.Data, observer: Observer, resume: bool) -> Run:
    """Train, then evaluate and generate with the best weights."""
    folder, resolved, network = this.folder, this.resolved, this.network
    start = time.perf_counter()

    def validate() -> Metrics:
        return evaluate(network, data.reader, data.splits["validation"], data.vocabulary)

    def sample() -> str:
        try:
            return _shown(this.generated(SAMPLE))
        except RunError as error:  # a network that has gone wrong is told by its figures
            return f"({error.problems[0].fact})"
        finally:
            network.train()

    with listening() as stop_asked, folder.held(), seeded(resolved.task.seed, "plugins", device=network.device):
        looks = validate if data.splits["validation"].steps else None
        trainer = assemble.build_trainer(resolved, data, network, validate=looks, stop_asked=stop_asked)
        if resume:
            checkpoint = folder.checkpoints.last_whole()
            fill(network, checkpoint, folder)
            with reading(folder.checkpoints.path / f"step-{checkpoint.step}"):
                state.check(trainer, checkpoint)
                trainer.restore(checkpoint)
            folder.rewind(checkpoint.step, checkpoint.state.get("sampled"))
        this.steps_before = trainer.progress.step
        why = train(trainer, folder, observer, sample)
    best = folder.checkpoints.load("best")
    network.load_state_dict(best.tensors["weights"])
    with _resumable(folder):
        found = figures(resolved.task, data, network, data.held_out())
        generated = this.generated()
    folder.record(step=trainer.progress.step, split=found["split"], final=True, **found["metrics"])
    folder.sample(trainer.progress.step, _shown(generated), final=True)
    this.result = {
        "run": str(folder.path),
        "task": resolved.task.name,
        "steps": trainer.progress.step,
        "weights_of_step": best.step,
        "ended": why,
        "seconds": time.perf_counter() - start,
        "tokens_per_second": trainer.progress.tokens_per_second,
        "parameters": sum(p.numel() for p in network.parameters()),
        **found,
        "generated": generated,
        "broken_bands": [p.record() for p in broken_bands(resolved.task.expect, found, generated)],
    }
    folder.write("result.json", this.result)
    return this


@contextmanager
def _resumable(folder: RunFolder) -> Iterator[None]:
    """Say how to go on, if the user interrupts what comes after training."""
    try:
        yield
    except KeyboardInterrupt:
        fact = "interrupted after the last step, before the final figures; the weights are saved"
        raise Interrupted.of("RC063", fact, cure=f"`recurra resume {folder.path}` makes them") from None


def _shown(generated: Any) -> str:
    if isinstance(generated, str):
        return generated
    rows = [row if isinstance(row, list) else [row] for row in generated]
    return "\n".join("  ".join(f"{value:z.6g}" for value in row) for row in rows)
