"""The report of `recurra check`, which is printed, or turned into plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from recurra.engine.choice import Choice


@dataclass(frozen=True)
class SplitSizes:
    """How large a split is: its elements, those that are predicted, and its windows."""

    elements: int
    predicted: int
    windows: int


@dataclass(frozen=True)
class CovariateSize:
    """A covariate: its role, its name, and how many categories training shows, if it is of such."""

    role: str
    name: str
    categories: int | None


@dataclass(frozen=True)
class DataSizes:
    """How large the data is, and how the batches of training are `cut` from it.

    `notes` tell how it was read, and how far its time stamps are apart. Of the `covariates` a
    network reads `covariate_inputs` numbers a step.
    """

    elements: int
    sequences: int
    cut: str
    splits: dict[str, SplitSizes]
    notes: list[str]
    covariates: list[CovariateSize] = field(default_factory=list)
    covariate_inputs: int = 0


@dataclass(frozen=True)
class SymbolVocabulary:
    """The size of a vocabulary of symbols, the first of them, and what is to be known of them."""

    size: int
    symbols: list[str]
    notes: list[str] = field(default_factory=list)

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class NumberVocabulary:
    """The names of features, if they have any; what was `learned` of them, and what follows.

    `beside` tells the scale of each covariate of numbers.
    """

    size: int
    features: list[str]
    learned: dict[str, Any]
    transforms: list[str]
    notes: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data, in which all that was learned has a key of its own."""
        sizes = {"size": self.size, "features": self.features}
        told = {"transforms": self.transforms, "notes": self.notes, "beside": self.beside}
        return sizes | self.learned | told


@dataclass(frozen=True)
class Classes:
    """How many classes are answered, and how often the first of them come in training."""

    size: int
    counts: dict[str, int]

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"size": self.size, "classes": self.counts}


@dataclass(frozen=True)
class Quantified:
    """How many numbers answer a sequence, how they are scaled, and between what each lies."""

    size: int
    learned: dict[str, Any]
    least: list[float]
    greatest: list[float]

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        span = {"least": self.least, "greatest": self.greatest}
        return {"size": self.size} | self.learned | span


@dataclass(frozen=True)
class Stage:
    """What a stage of the network gives for one batch: a tensor, or a field of a layer's state."""

    name: str
    shape: list[int]
    is_state: bool = False

    @property
    def title(self) -> str:
        """The name; that of a field stands under its layer."""
        return f"  state {self.name}" if self.is_state else self.name


@dataclass(frozen=True)
class Part:
    """A part of the network, and the path of its cells if it has any."""

    name: str
    parameters: int
    choice: Choice | None = None

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        row: dict[str, Any] = {"name": self.name, "parameters": self.parameters}
        if self.choice is None:
            return row

        row |= _costs(self.choice)
        row["refused"] = self.choice.refused
        if self.choice.one_step:
            row["one_step"] = _costs(self.choice.one_step)
        return row


def _costs(choice: Choice) -> dict[str, Any]:
    """Return the path that was chosen, and the seconds a step of each, or why none was measured."""
    costs = {"path": choice.path, "seconds_per_step": choice.seconds}
    if choice.note:
        return costs | {"note": choice.note}
    return costs


@dataclass(frozen=True)
class Updates:
    """How many updates training makes, and of how many predictions each is made."""

    steps: int
    batches_per_epoch: int
    tokens_per_step: int


@dataclass(frozen=True)
class Memory:
    """The bytes that training takes."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    def parts(self) -> dict[str, int]:
        """Return what takes how much."""
        return asdict(self)

    @property
    def total(self) -> int:
        """All of it together."""
        return sum(self.parts().values())


@dataclass(frozen=True)
class Report:
    """All that can be known of a task without training it.

    `notes` is what a change of kind left out of the task; `components` are the kinds of part with
    what was chosen for each; `answers` are classes or
    numbers, where other things are answered than read.
    """

    task: str
    notes: list[str]
    components: dict[str, str]
    device: str
    determinism: str
    data: DataSizes
    vocabulary: SymbolVocabulary | NumberVocabulary
    answers: Classes | Quantified | None
    shapes: list[Stage]
    parts: list[Part]
    parameters: int
    training: Updates
    memory: Memory
    seconds_per_step: float

    @property
    def seconds(self) -> float:
        """How long training takes."""
        return self.seconds_per_step * self.training.steps

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data, which `recurra check --json` prints."""
        report: dict[str, Any] = {
            "task": self.task,
            "task_notes": self.notes,
            "components": self.components,
            "device": self.device,
            "determinism": self.determinism,
            "data": asdict(self.data),
            "vocabulary": self.vocabulary.as_data(),
        }
        if self.answers is not None:
            report["answers"] = self.answers.as_data()

        return report | {
            "shapes": [[stage.title, stage.shape] for stage in self.shapes],
            "layers": [part.as_data() for part in self.parts],
            "parameters": self.parameters,
            "training": asdict(self.training),
            "memory": self.memory.parts() | {"total": self.memory.total},
            "seconds_per_step": self.seconds_per_step,
            "seconds": self.seconds,
        }
