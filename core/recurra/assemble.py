"""From a resolved task to its data, network, trainer and sessions: the one file that knows all rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recurra.contracts.cell import Cell
from recurra.contracts.encoder import Encoder
from recurra.contracts.loss import Loss
from recurra.contracts.source import Source
from recurra.contracts.vocabulary import Vocabulary
from recurra.data import intake
from recurra.data.batches import Feed, Lanes, Reader, Windows
from recurra.data.splits import Split, SplitName, place_of, sampled, split
from recurra.data.store import Store, build
from recurra.engine import choice, paths
from recurra.engine.paths import Choice
from recurra.errors import InputError, Problem
from recurra.generate.session import GIVE_KNOWN, SKIPPED, encoded, holds_any
from recurra.model import device as devices
from recurra.model import probe
from recurra.model.layers import Layer, layer
from recurra.model.network import Network
from recurra.randomness import SCHEME, noise, seeded
from recurra.resolve import Part, Resolved
from recurra.runs.records import Environment
from recurra.spec import checking
from recurra.train import optimizer as optimizers
from recurra.train.loop import Trainer, total_steps

BLOCK = 1 << 16
"""Elements that a vocabulary of numbers is fitted on at a time."""
FORECAST = 256
"""Series that are forecast; of more, a sample that lies evenly over all of them."""
HISTORY = 1 << 16
"""Steps that a forecast reads before it begins."""
HEAD = 32
"""Symbols of the corpus that generation goes on from where no prompt is given."""
NARROWEST = {"rms": 2, "layer": 3}
"""Width of a block below which its norm leaves only the sign of what it reads."""
TAIL = 1024
"""Steps of a series that generation goes on from where no prompt is given, and symbols that it reads to be warm."""


@dataclass(frozen=True)
class Data:
    """A task's data, ready to be cut into batches."""

    source: Source[Any]
    vocabulary: Vocabulary[Any]
    store: Store
    splits: dict[SplitName, Split]
    reader: Reader
    feed: Feed

    def held_out(self) -> SplitName:
        """Return the split that the final figures are about: test, else validation, else train."""
        order: tuple[SplitName, ...] = ("test", "validation")
        return next((name for name in order if self.splits[name].steps), "train")

    def opening_position(self) -> int:
        """Return where in its sequence the opening begins."""
        numbers = self.vocabulary.yields == "numbers"
        return max(0, int(self.store.ends[-1] - self.store.starts[-1]) - TAIL) if numbers else 0

    def names(self) -> list[str]:
        """Return the names of the symbols in the order of their ids, or of the features."""
        if self.vocabulary.yields == "numbers":
            return self.source.features()
        return [self.vocabulary.symbol(index) for index in range(self.vocabulary.size)]

    def opening(self) -> Any:
        """Return what generation goes on from without a prompt: the first symbols, or the last steps of a series."""
        begin = self.store.starts[-1 if self.vocabulary.yields == "numbers" else 0]
        end = self.store.ends[-1 if self.vocabulary.yields == "numbers" else 0]
        if self.vocabulary.yields == "numbers":
            return np.asarray(self.store.values[max(begin, end - TAIL) : end]).tolist()
        return np.asarray(self.store.values[begin : min(end, begin + HEAD)]).tolist()

    def ending(self) -> dict[str, Any]:
        """Return the symbols that training ends with, and where in their sequence they begin; nothing for numbers.

        They end with a line, if there is one: what follows, a prompt, rarely goes on in the middle of a word.
        """
        if self.vocabulary.yields == "numbers":
            return {}  # whose opening is an end
        train = self.splits["train"]
        begin, end = int(train.begin[-1]), int(train.high[-1])
        start = max(begin, end - TAIL)
        symbols = np.asarray(self.store.values[start:end])
        lines = [index for index in range(len(symbols)) if "\n" in self.vocabulary.text(symbols[index : index + 1])]
        whole = symbols[: lines[-1] + 1 if lines else None]
        return {"ending": whole.tolist(), "ending_position": start - begin}

    def summary(self) -> dict[str, Any]:
        """Return what data.json holds."""
        return {
            "fingerprint": self.store.fingerprint,
            "elements": len(self.store),
            "sequences": len(self.store.starts),
            "splits": {name: part.elements for name, part in self.splits.items()},
            "features": self.source.features(),
            "opening": self.opening(),
            "opening_position": self.opening_position(),
            **self.ending(),
        }


def load_data(resolved: Resolved, check: Callable[[Store], None] = lambda store: None) -> Data:
    """Read the source, `check` what it gave, and cut it as the task says.

    Raises `InputError` (RC040 to RC043, RC080).
    """
    task = resolved.task
    with resolved.placing():
        source: Source[Any] = resolved.parts["source"].build()
        vocabulary: Vocabulary[Any] = resolved.parts["vocabulary"].build()
        owners = [resolved.parts[name].entry for name in ("source", "vocabulary")]
        identity = " ".join(f"{e.qualified}@{e.plugin.version}" for e in owners)
        names = owners[0].qualified, owners[1].qualified
        store = build(source, vocabulary, identity=identity, owners=names)
        check(store)
        splits = split(store, task.sequence)
        if vocabulary.yields == "numbers":
            _fit(resolved, vocabulary, store, splits)
        reader = Reader(store, vocabulary.encode, devices.DTYPES[task.device.precision])
        data = Data(source, vocabulary, store, splits, reader, _feed(resolved, reader, splits["train"]))
        _check_splits(resolved, data)
        check_prompt(resolved, vocabulary)
    return data


def _fit(resolved: Resolved, vocabulary: Vocabulary[Any], store: Store, splits: dict[SplitName, Split]) -> None:
    """Fit a vocabulary of numbers on the training split. Raises `InputError` that names the rows it refuses."""
    part = resolved.parts["vocabulary"]
    last: list[tuple[int, NDArray[Any]]] = [(0, store.values[:0])]  # the block that it is looking at

    def blocks() -> Iterator[NDArray[Any]]:
        for last[0] in _blocks(store, splits["train"]):
            yield last[0][1]

    try:
        vocabulary.fit(blocks())
    except InputError as error:
        start, block = last[0]
        found = intake.refused(
            lambda row: part.build().fit([row]), block, lambda at: place_of(store, splits, start + at)
        )
        raise found or error from error
    size = intake.size(vocabulary, part.entry.qualified)
    if size != store.values.shape[1]:
        fact = f"size is {size} after rows of {store.values.shape[1]} numbers"
        raise intake.broken(part.entry.qualified, fact)
    intake.learned(vocabulary, part.entry.qualified)


def _blocks(store: Store, part: Split) -> Iterator[tuple[int, NDArray[Any]]]:
    """Give the elements of a split in blocks, and where each begins: a mapped corpus never comes into memory whole."""
    for low, high in zip(part.low, part.high, strict=True):
        for start in range(int(low), int(high), BLOCK):
            yield start, np.asarray(store.values[start : min(start + BLOCK, int(high))])


def _feed(resolved: Resolved, reader: Reader, train: Split) -> Feed:
    """Return the batches of training. Raises `InputError` (RC041) that does the arithmetic where there are too few."""
    sequence, batch = resolved.task.sequence, resolved.task.training.batch_size
    if not train.steps:
        fact = f"the training split holds {train.elements} elements in {len(train)} sequences: nothing can be predicted"
        raise InputError.of(
            "RC041", fact, key="sequence.split", cure="a window needs an input and a target: 2 elements"
        )
    if sequence.carry:
        have, need = train.elements, batch * sequence.length + 1
        if have < need:
            fact = (
                f"the training split holds {have} elements, and one batch takes {need}: "
                f"batch_size {batch} x length {sequence.length} + 1"
            )
            fitting = {"batch_size": (have - 1) // sequence.length, "length": (have - 1) // batch}
            either = [f"{name} <= {most}" for name, most in fitting.items() if most]
            cure = ", or ".join(either) or f"batch_size = 1 and length <= {have - 1}"
            raise InputError.of("RC041", fact, key="training.batch_size", cure=cure)
        return Lanes.of(reader, train, sequence.length, batch, sequence.restart, resolved.task.seed)
    windows = Windows.of(reader, train, sequence.length, sequence.stride, batch, resolved.task.seed)
    if windows.count < batch:
        fact = (
            f"the training split gives {windows.count} windows of up to {sequence.length} steps "
            f"({train.elements} elements in {len(train)} sequences), and one batch takes {batch}"
        )
        cure = f"batch_size <= {windows.count}, or a shorter sequence.length or stride"
        raise InputError.of("RC041", fact, key="training.batch_size", cure=cure)
    return windows


def _check_splits(resolved: Resolved, data: Data) -> None:
    for name, share in zip(data.splits, resolved.task.sequence.split, strict=True):
        part = data.splits[name]
        if share and not part.steps:
            total = f"{len(data.store)} elements in {len(data.store.starts)} sequences"
            fact = f"the {name} split, {share:g} of {total}, holds {part.elements} elements: nothing can be predicted"
            raise InputError.of("RC041", fact, key="sequence.split", cure="give it a larger share, or 0")


def check_prompt(resolved: Resolved, vocabulary: Vocabulary[Any]) -> None:
    """Check the task's prompt. Raises `InputError` (RC043, RC080)."""
    prompt, generation = resolved.task.generation.prompt, resolved.task.generation
    if generation.warm and generation.position:
        fact = "with warm = true the prompt stands after what is read first, so position must be left out"
        raise InputError.of("RC014", fact, key="generation.position", got=str(generation.position))
    if prompt is None:
        return
    key = "generation.prompt"
    numeric = not isinstance(prompt, str) and not any(isinstance(item, str) for item in prompt)
    if numeric != (vocabulary.yields == "numbers") and prompt != []:
        kind = "a list of numbers" if vocabulary.yields == "numbers" else "text"
        raise InputError.of("RC080", f"the prompt must be {kind} here", key=key, got=checking.literal(prompt))
    if not len(encoded(vocabulary, prompt)):
        if holds_any(vocabulary, prompt):
            raise InputError.of("RC080", SKIPPED, key=key, got=checking.literal(prompt), cure=GIVE_KNOWN)
        raise InputError.of(
            "RC080", "the prompt is empty, so nothing can follow", key=key, cure="give one element or more"
        )


@dataclass(frozen=True)
class Taken:
    """What a run records of how it was made: the paths of its cells and of their single steps, threads, randomness."""

    paths: list[str]
    step_paths: list[str]
    threads: int = 1
    randomness: int = SCHEME

    @staticmethod
    def of(environment: Environment) -> Taken:
        """Return what environment.json holds."""
        paths = environment.paths
        return Taken(paths, environment.step_paths or paths, environment.threads, environment.randomness)

    @staticmethod
    def record(choices: Sequence[Choice]) -> dict[str, Any]:
        """Return what environment.json is to hold."""
        paths, step_paths = [c.path for c in choices], [(c.one_step or c).path for c in choices]
        return {"paths": paths, "step_paths": step_paths, "randomness": SCHEME}


def build_network(
    resolved: Resolved,
    size: int,
    names: Callable[[], list[str]] | None = None,
    *,
    resets: bool = False,
    taken: Taken | None = None,
) -> tuple[Network, list[Choice]]:
    """Return the network of a task, initialised from its seed, and the path of each cell.

    `names` gives those of the symbols or features to an encoder that starts from outside, as from vectors in a file;
    without it, as when a run is loaded, the encoder reads no file. The paths are those that were `taken`, as far as
    they are proved here, else the fastest for windows of training, in which sequences begin where there are `resets`.
    Raises `InputError` (RC031) if a cell cannot run on the path that the task asks for.
    """
    task = resolved.task
    with resolved.placing():
        device = devices.choose(task.device)
    with seeded(task.seed, "init"):
        encoder: Encoder[Any] = resolved.parts["encoder"].build(size)
        probe.encoder(encoder, _symbols(resolved), resolved.parts["encoder"].entry.qualified)
        if names is not None:
            with resolved.placing():
                encoder.prepare(names())
        layers: list[nn.Module] = []
        width = encoder.output_size
        for index, part in enumerate(resolved.cells):
            if part.options.block is not None and width < NARROWEST[part.options.block.norm]:
                raise InputError(resolved.place(_narrow(part, width, resolved.cell_key(index))))
            for _ in range(part.options.num_layers):
                layers.append(layer(partial(_cell, part), width, part.options))
                width = cast(Layer, layers[-1]).output_size
        network = Network(encoder, layers, _loss(resolved, size))
    network = network.to(device=device, dtype=devices.DTYPES[task.device.precision])
    network.narrow = task.device.precision == "bfloat16"
    network.noise = noise(task.seed, device, SCHEME if taken is None else taken.randomness)
    with sized(resolved, network, taken):
        return network, _choose_paths(resolved, network, resets, taken)


def sized(resolved: Resolved, network: Network, taken: Taken | None = None) -> AbstractContextManager[None]:
    """Return what sets the threads that a task of this size is worth.

    A run that was made on several goes on with them, for its bits may depend on that.
    """
    training = resolved.task.training
    weights = sum(weight.numel() for weight in network.parameters())
    work = weights * training.batch_size * resolved.task.sequence.length
    several = taken is not None and taken.threads > 1
    return devices.sized(resolved.task.device, devices.SMALL if several else work)


def _narrow(part: Part, width: int, key: str) -> Problem:
    """Return the problem of a block that is so narrow that its norm leaves nothing of its input."""
    fact = (
        f"a block is as wide as its input, and a {part.options.block.norm} norm of {width} leaves only the sign of it"
    )
    cure = 'put a wider encoder before it, such as kind = "linear" with size = 64'
    return Problem("RC031", fact, f"{key}.block", cure=cure)


def _cell(part: Part, width: int) -> Cell[Any]:
    """Return a cell for inputs of a width. Raises `PluginError` (RC071) if it breaks the shapes of its contract."""
    built: Cell[Any] = part.build(width)
    probe.cell(built, part.entry.qualified)
    return built


def _loss(resolved: Resolved, size: int) -> Loss[Any]:
    """Return the loss of a task. Raises `PluginError` (RC071) if it does not give one number a step."""
    part = resolved.parts["loss"]
    loss: Loss[Any] = part.build(size)
    probe.loss(loss, _symbols(resolved), part.entry.qualified)
    return loss


def _symbols(resolved: Resolved) -> bool:
    target: type[Vocabulary[Any]] = resolved.parts["vocabulary"].entry.target
    return target.yields == "symbols"


def begins_inside(resolved: Resolved, data: Data) -> bool:
    """Tell whether sequences begin inside the windows of training."""
    return resolved.task.sequence.carry and len(data.splits["train"]) > 1


def _choose_paths(resolved: Resolved, network: Network, resets: bool, taken: Taken | None) -> list[Choice]:
    """Set the path of each cell, and that of its single steps; return the choices."""
    network.compiles_steps = resolved.task.device.path in ("auto", "fused")
    if taken is None:
        choices = [_choose_path(resolved, cell, resets) for cell in network.cells]
    else:
        recorded = zip(network.cells, taken.paths, taken.step_paths, strict=True)
        choices = [_take_path(resolved, cell, resets, path, one) for cell, path, one in recorded]
    for cell, found in zip(network.cells, choices, strict=True):
        cell.path, cell.step_path = found.path, (found.one_step or found).path
    return choices


def _take_path(resolved: Resolved, cell: Cell[Any], resets: bool, path: str, one: str) -> Choice:
    """Return the recorded choice, for bits are equal within one path alone; a new one if it is not proved here."""
    found, single = paths.choose(cell, path), paths.choose(cell, one)
    if found.path != path:
        chosen = _choose_path(resolved, cell, resets)
        return replace(chosen, refused=chosen.refused | found.refused)
    return replace(found, one_step=single if single.path == one else choice.explain(cell, 1, 1, grad=False))


def _choose_path(resolved: Resolved, cell: Cell[Any], resets: bool) -> Choice:
    """Return the choice for windows of training, and with it that for one step without gradients of one row."""
    task = resolved.task
    wanted = task.device.path
    if wanted == "auto":
        found = choice.explain(cell, task.training.batch_size, task.sequence.length, reset=resets)
        return replace(found, one_step=choice.explain(cell, 1, 1, grad=False))
    found = paths.choose(cell, wanted)
    if wanted != found.path:
        fact = f"{type(cell).__name__} cannot run on path {wanted}: {found.refused[wanted]}"
        raise InputError(resolved.place(Problem("RC031", fact, "device.path", cure='set device.path = "auto"')))
    return replace(found, note=f"not measured: device.path is {wanted}")


def build_optimizer(resolved: Resolved, network: Network) -> torch.optim.Optimizer:
    """Return the optimizer of a task. Raises `InputError` (RC013) if torch refuses its arguments."""
    kind, arguments = optimizers.chosen(resolved.task.training.optimizer)
    with resolved.placing():
        try:
            return optimizers.build(kind, arguments, network.parameters())
        except InputError as error:
            origins, table = resolved.document.origins, ("training", "optimizer")
            layers = {name: origins.get((*table, name), 0) for name in arguments}
            if len(set(layers.values())) < 2:  # they all stand in one table
                raise
            latest = max(layers, key=lambda name: layers[name])
            key = ".".join((*table, latest))
            raise InputError(replace(problem, key=key) for problem in error.problems) from error


def build_trainer(
    resolved: Resolved,
    data: Data,
    network: Network,
    *,
    validate: Callable[[], dict[str, float]] | None = None,
    stop_asked: Callable[[], bool] = lambda: False,
) -> Trainer:
    """Return the trainer of a task."""
    training = resolved.task.training
    return Trainer(
        training=training,
        network=network,
        optimizer=build_optimizer(resolved, network),
        rate=optimizers.Rate(training.schedule, total_steps(training, data.feed.batches)),
        feed=data.feed,
        validate=validate,
        stop_asked=stop_asked,
    )


def history_and_future(
    data: Data, name: SplitName, horizon: int, limit: int = FORECAST
) -> tuple[list[tuple[int, NDArray[Any], NDArray[Any]]], int]:
    """Return, for series of a split, what is known, from which position on, and what a free-running forecast meets.

    A contiguous split is forecast from its first element; a whole series from `horizon` before its end. Of more than
    `limit` series those are taken that lie evenly over all of them; how many there are comes second.
    """
    part, values = data.splits[name], data.store.values
    origins = np.where(part.low > part.begin, part.low, np.maximum(part.low + 1, part.high - horizon))
    stops = np.minimum(part.high, origins + horizon)
    able = np.flatnonzero(stops > origins)

    found = []
    for row in sampled(able, limit).tolist():
        begin, origin, stop = int(part.begin[row]), int(origins[row]), int(stops[row])
        known = max(begin, origin - HISTORY)
        found.append((known - begin, np.asarray(values[known:origin]), np.asarray(values[origin:stop])))
    return found, len(able)
