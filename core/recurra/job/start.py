"""A run that starts from another: its vocabulary, its scale and its weights, part by part."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.vocabulary import Vocabulary
from recurra.data import intake
from recurra.data.known import Known, listed, unknown
from recurra.data.marks import MARKS, Marked
from recurra.errors import InputError, Problem
from recurra.generate import arguments
from recurra.job.changes import Change, differences, shown
from recurra.job.data import Data, load_data
from recurra.job.elements import ELEMENTS
from recurra.job.opening import opened
from recurra.job.run import Run
from recurra.model.network import Network
from recurra.resolved import Part, Resolved
from recurra.runs.folder import RunFolder

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Places:
    """Where the symbols of a run, or its classes, stand now: `at[i]` is the id of what was i.

    What is behind the last of them, the marks of answers that are read no more, stands nowhere.
    """

    before: int
    after: int
    at: Tensor

    @classmethod
    def of(cls, before: list[str], after: list[str]) -> Places:
        """Return the places of names among others, which hold them all."""
        ids = {name: index for index, name in enumerate(after)}
        at = torch.tensor([ids[name] for name in before], dtype=torch.long)
        return cls(len(before), len(after), at)

    def marked(self, before: bool, after: bool) -> Places:
        """Return them with the marks of answers behind all others, where these stood or stand."""
        at = self.at
        if before and after:
            at = torch.cat([at, self.after + torch.arange(MARKS)])
        return Places(self.before + MARKS * before, self.after + MARKS * after, at)

    def widened(self, fresh: Tensor, old: Tensor) -> Tensor | None:
        """Return a fresh tensor with the rows of an old one at their places.

        Nothing where the two differ in anything but the one axis that counts symbols.
        """
        old = old.to(fresh)
        if old.shape == fresh.shape:
            # With as many new symbols as marks that are left, no size tells which axis is theirs.
            unclear = self.before == self.after > len(self.at) and self.before in old.shape
            return None if unclear else old
        if old.dim() != fresh.dim():
            return None
        axes = [axis for axis in range(old.dim()) if old.shape[axis] != fresh.shape[axis]]
        sizes = [(old.shape[axis], fresh.shape[axis]) for axis in axes]
        if sizes != [(self.before, self.after)]:
            return None
        known = old.narrow(axes[0], 0, len(self.at))
        return fresh.index_copy(axes[0], self.at.to(fresh.device), known)

    def taken(self, moved: Tensor, old: Tensor) -> int:
        """Return how many numbers of an old tensor one has that was `widened`."""
        if moved.shape == old.shape:
            return old.numel()
        return old.numel() // self.before * len(self.at)


@dataclass
class Start:
    """What a new run takes of the `origin`, an opened run, and what is said of it."""

    origin: Run
    step: int
    sha256: str
    add_symbols: bool = False
    refit_scale: bool = False
    said: dict[str, str] = field(default_factory=dict)
    """By part, what was taken of it."""
    kept: list[str] = field(default_factory=list)
    """What the run has not learned of its own data: its vocabulary, its answers."""

    @property
    def owner(self) -> str:
        """The run, in words."""
        return str(self.origin.path)

    def lines(self) -> list[str]:
        """Return what is taken, a line a part."""
        head = f"from {self.owner}, its weights of step {self.step}; a new optimizer"
        return [head, *(f"  {part:<11} {what}" for part, what in self.said.items())]

    def record(self) -> dict[str, Any]:
        """Return what origin.json holds."""
        return {
            "run": str(self.origin.path.absolute()),
            "step": self.step,
            "sha256": self.sha256,
            "kept": self.kept,
            "parts": self.said,
            "add_symbols": self.add_symbols,
            "refit_scale": self.refit_scale,
        }

    # what is read

    def check(self, resolved: Resolved) -> None:
        """Refuse a task of other kinds, or of other layers. Raises `InputError` (RC030)."""
        before = self.origin.resolved
        problems = [
            self._differs(f"{name}.kind", before.parts[name], resolved.parts[name])
            for name in ("vocabulary", "encoder")
            if _kind(before.parts[name]) != _kind(resolved.parts[name])
        ]
        ours, theirs = (_layers(each) for each in (resolved, before))
        if ours != theirs:
            fact = f"{self.owner} has other layers"
            details = {"got": ", ".join(ours), "allowed": ", ".join(theirs)}
            changes = {change.name for change in self._changes(resolved, "cell")}
            keys = [key for key in ("cell.kind", "cell.num_layers") if key in changes]
            key = keys[0] if keys else "cell"
            problems.append(Problem("RC030", fact, key, cure=self._cure, **details))  # type: ignore[arg-type]
        if problems:
            raise InputError(resolved.place(problem) for problem in problems)

    @property
    def _cure(self) -> str:
        return f"write it as {self.owner}/task.toml has it, or train without --from"

    def _differs(self, key: str, before: Part, after: Part) -> Problem:
        fact = f"{self.owner} has another {key.partition('.')[0]}"
        return Problem("RC030", fact, key, got=_kind(after), allowed=_kind(before), cure=self._cure)

    def data(self, resolved: Resolved) -> Data:
        """Return the data of a task, read with what the run has learned.

        Raises `InputError` (RC030, RC043) for what it does not know.
        """
        with resolved.placing():
            vocabulary, new = self._vocabulary(resolved)
        answers: Any = None
        if self._same(resolved, "target") and resolved.target.asks != "input":
            refits = self.refit_scale and not ELEMENTS[resolved.target.answers].by_class
            answers = None if refits else copy.deepcopy(self.origin.answers)
        self.kept = [
            name
            for name, one in (("vocabulary", vocabulary), ("answers", answers))
            if one is not None
        ]
        policy = "added" if self.add_symbols else "refused"
        covariates = self.origin.covariates
        known = Known(self.owner, vocabulary, answers, policy, covariates)  # type: ignore[arg-type]
        try:
            return load_data(resolved, known=known)
        except InputError as error:
            ours = any(problem.key.startswith("vocabulary") for problem in error.problems)
            if not new or not ours or error.problems[0].code != "RC043":
                raise
            raise InputError(
                resolved.place(problem)
                for problem in unknown(self.owner, new, "symbol", "vocabulary").problems
            ) from error

    def _vocabulary(self, resolved: Resolved) -> tuple[Vocabulary[Any] | None, dict[str, int]]:
        """Return the vocabulary of the run, widened if so asked, and the new symbols."""
        learned = self.origin.vocabulary
        elements = ELEMENTS[learned.yields]
        has_scale = not elements.by_class
        if has_scale and self.refit_scale:
            self.said["vocabulary"] = "its scale is fitted on this data"
            return None, {}

        vocabulary, wider = (self._restored(resolved, learned) for _ in range(2))
        if not elements.keeps(vocabulary, learned):
            raise self._other_vocabulary(resolved)
        part = resolved.parts["vocabulary"].entry.qualified
        try:
            new = elements.new(wider, self._runs(resolved, wider))
        except NotImplementedError as error:
            if not self.add_symbols:
                self.said["vocabulary"] = f"{learned.size:,} symbols kept"
                return vocabulary, {}
            fact = f"vocabulary {part} cannot take symbols in"
            raise InputError.of("RC031", fact, key="vocabulary", cure="leave them out") from error

        if has_scale:
            self.said["vocabulary"] = "its scale is kept"
            return vocabulary, {}
        text = f"{learned.size:,} symbols kept"
        if new and self.add_symbols:
            self.said["vocabulary"] = f"{text}, {len(new):,} added: {listed(new)}"
            return wider, new
        if new:
            text += f"; unknown to it: {listed(new)}"
        self.said["vocabulary"] = text
        return vocabulary, new

    def _restored(self, resolved: Resolved, learned: Vocabulary[Any]) -> Vocabulary[Any]:
        vocabulary: Vocabulary[Any] = resolved.parts["vocabulary"].build()
        try:
            vocabulary.restore(learned.save())
        except Exception as error:
            raise self._other_vocabulary(resolved) from error
        return vocabulary

    def _other_vocabulary(self, resolved: Resolved) -> InputError:
        changes = self._changes(resolved, "vocabulary")
        return InputError(_of_change(self.owner, change, self._cure) for change in changes)

    def _runs(self, resolved: Resolved, vocabulary: Vocabulary[Any]) -> Iterator[Any]:
        """Give all that the data holds to read."""
        owner = resolved.parts["source"].entry.qualified
        roles = tuple(role for role in resolved.needed if role == "answer")
        for piece in intake.pieces(resolved.source(), vocabulary.reads, owner, roles):
            yield piece.values
            if "answer" in piece.columns:
                yield piece.columns["answer"]

    # what is learned

    def give(self, network: Network, resolved: Resolved, data: Data) -> None:
        """Give a network the weights of the run, part by part.

        Raises `InputError` (RC030) if encoder or layers are others.
        """
        before = self.origin.vocabulary
        names = data.elements.names
        read = Places.of(*_named(names, data, before, data.vocabulary))
        read = read.marked(*(isinstance(one.answers, Marked) for one in (self.origin, data)))
        origin = self.origin.network.to(network.device).typed(network.dtype)
        origin.narrow = network.narrow
        old, fresh = origin.state_dict(), dict(network.state_dict())

        taken: dict[str, Tensor] = {}
        parts = ["encoder", *(f"layers.{index}" for index in range(len(network.layers))), "norm"]
        for part in parts:
            weights = _moved(part, old, fresh, read)
            wide = part == "layers.0" and network.encoder.output_size != origin.encoder.output_size
            if weights is None or (wide and resolved.cells[0].options.block is not None):
                raise self._misfit(resolved, part)
            taken |= weights
            if _of(part, fresh):
                self.said[_title(part)] = _told(weights, old, read)
        network.load_state_dict({**fresh, **taken})
        if self._changes(resolved, "encoder", "cell") and not _alike(origin, network, data, read):
            raise self._misfit(resolved, "encoder and layers")

        for part in ("pool", "decoder", "beside", "head"):
            if _of(part, fresh):
                weights = self._answering(part, resolved, data, old, fresh, read)
                taken |= weights
        network.load_state_dict({**fresh, **taken})

    def _answering(
        self, part: str, resolved: Resolved, data: Data, old: Weights, fresh: Weights, read: Places
    ) -> dict[str, Tensor]:
        """Return the weights of a part that answers; nothing where it begins anew."""
        before = self.origin.resolved
        if not self._same(resolved, "target") and not self._follow(resolved, data):
            target = _kind(resolved.parts["target"])
            was = _kind(before.parts["target"])
            self.said[part] = f"begins anew: the target is {target}, and was {was}"
            return {}

        targets = [_asked(each) for each in (resolved, before)]
        if resolved.target.ahead and targets[0] != targets[1]:
            self.said[part] = "begins anew: what is asked ahead, or what it is added to, is another"
            return {}

        places = read
        if data.answers is not data.vocabulary and not isinstance(data.answers, Marked):
            names = data.answer_elements.names
            places = Places.of(*_named(names, data, self.origin.answers, data.answers))
        plain = self.origin.network.loss.output_size == places.before
        weights = _moved(part, old, fresh, places)
        if _of(part, fresh) != _of(part, old):
            self.said[part] = "begins anew: the other has no such weights"
            return {}
        if weights is None or not (plain or self._same(resolved, "loss")):
            self.said[part] = "begins anew: it gives other numbers for an answer"
            return {}
        self.said[part] = _told(weights, old, places)
        return weights

    def _follow(self, resolved: Resolved, data: Data) -> bool:
        """Tell whether both runs are asked for the symbols that come next, under the same ids."""
        return all(
            (one.answers is one.vocabulary or isinstance(one.answers, Marked))
            and ELEMENTS[one.vocabulary.yields].by_class
            and target.reach == 1
            for one, target in (
                (self.origin, self.origin.resolved.target),
                (data, resolved.target),
            )
        )

    def _same(self, resolved: Resolved, kind: str) -> bool:
        return _kind(resolved.parts[kind]) == _kind(self.origin.resolved.parts[kind])

    def _changes(self, resolved: Resolved, *tables: str) -> list[Change]:
        changes = differences(self.origin.resolved, resolved)
        return [change for change in changes if change.key[0] in tables]

    def _misfit(self, resolved: Resolved, part: str) -> InputError:
        """Return the error of a part that does not fit, with each key that differs."""
        changes = self._changes(resolved, "encoder", "cell")
        problems = [_of_change(self.owner, change, self._cure) for change in changes]
        fact = f"the weights of {self.owner} do not fit {part}: the input is as wide as the symbols"
        cure = "train without --from, or with the symbols that it knows"
        found = problems or [Problem("RC030", fact, "cell", cure=cure)]
        return InputError(resolved.place(problem) for problem in found)


def _of_change(owner: str, change: Change, cure: str) -> Problem:
    """Return the problem of a key under which weights mean something else."""
    before, after = map(shown, change[1:])
    fact = f"{owner} was made with another {change.name}, and its weights would mean something else"
    return Problem("RC030", fact, change.name, got=after, allowed=before, cure=cure)


def _asked(resolved: Resolved) -> dict[str, Any]:
    """Return the options of a target, as far as weights depend on them."""
    options: dict[str, Any] = resolved.parts["target"].options.model_dump()
    options.pop("conformal", None)
    return options


def _kind(part: Part) -> str:
    return part.entry.qualified


def _layers(resolved: Resolved) -> list[str]:
    """Return the kind of each layer."""
    return [_kind(cell) for cell in resolved.cells for _ in range(cell.options.num_layers)]


def _named(
    names: Any, data: Data, before: Vocabulary[Any], after: Vocabulary[Any]
) -> tuple[list[str], list[str]]:
    """Return the names of what was known and of what is; numbers go by their places."""
    if before.size == after.size:
        same = [str(index) for index in range(after.size)]
        return same, same
    return names(data.source, before), names(data.source, after)


def _of(part: str, weights: Weights) -> list[str]:
    """Return the names of the weights of a part."""
    return [name for name in weights if name.startswith(f"{part}.")]


def _moved(part: str, old: Weights, fresh: Weights, places: Places) -> dict[str, Tensor] | None:
    """Return the weights of a part at their places, or nothing if they do not fit."""
    names = _of(part, fresh)
    if names != _of(part, old):
        return None
    moved: dict[str, Tensor] = {}
    for name in names:
        weight = places.widened(fresh[name], old[name])
        if weight is None:
            return None
        moved[name] = weight
    return moved


def _title(part: str) -> str:
    return part.replace("layers.", "layer ")


def _told(weights: Weights, old: Weights, places: Places) -> str:
    """Return how many weights are taken, and how many are new."""
    taken = sum(places.taken(weight, old[name]) for name, weight in weights.items())
    new = sum(weight.numel() for weight in weights.values()) - taken
    return f"{taken:,} weights taken" + (f", {new:,} drawn anew" if new else "")


def _alike(one: Network, other: Network, data: Data, places: Places) -> bool:
    """Tell whether two networks make the same of what is read, up to their heads."""
    stream = torch.Generator().manual_seed(0)
    x = data.elements.drawn(len(places.at), stream).to(one.device)
    moved = x.to(one.dtype) if x.is_floating_point() else places.at.to(x.device)[x]
    read = x.to(one.dtype) if x.is_floating_point() else x
    found = []
    for network, steps in ((one, read), (other, moved)):
        cells, training = network.cells, network.training
        paths = [cell.path for cell in cells]
        for cell in cells:
            cell.path = "eager"
        with torch.no_grad():
            hidden, _ = network.eval().hidden(steps, network.initial_states(len(steps)))
        for cell, path in zip(cells, paths, strict=True):
            cell.path = path
        network.train(training)
        found.append(hidden)
    return torch.allclose(found[0], found[1], rtol=1e-5, atol=1e-7)


def start_of(
    path: str | PathLike[str] | None,
    checkpoint: str,
    add_symbols: bool,
    refit_scale: bool,
    trust: bool,
) -> Start | None:
    """Open the run that another starts from, if there is one.

    Raises `InputError` (RC080) for what is said of none.
    """
    wider = arguments.flag("add_symbols", add_symbols)
    refits = arguments.flag("refit_scale", refit_scale)
    if path is None:
        said = {"checkpoint": checkpoint != "best", "add_symbols": wider, "refit_scale": refits}
        said["trust"] = arguments.flag("trust", trust)
        names = ", ".join(name for name, is_said in said.items() if is_said)
        if names:
            fact = f"{names} cannot be followed: the run starts from no other"
            cure = f"name the run with --from RUN (start=...), or leave {names} out"
            raise InputError.of("RC080", fact, cure=cure)
        return None

    if isinstance(checkpoint, str):
        arguments.one_of("checkpoint", checkpoint, ("best", "last"))
    else:
        arguments.whole("checkpoint", checkpoint)
    folder = RunFolder.open(arguments.path("run", path))
    origin = opened(folder, checkpoint, arguments.flag("trust", trust))
    saved = folder.checkpoints
    step = saved.index().get(checkpoint, saved.index()["last"])
    return Start(origin, step, saved.digest(step), wider, refits)
