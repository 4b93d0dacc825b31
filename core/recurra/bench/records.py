"""What is measured, under which settings, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal, TypeAlias

from recurra.bench.machine import Machine
from recurra.engine.load import Load

Unit: TypeAlias = Literal["speed", "time", "worst", "s", "GB"]
"""How many times as fast as the other; its time as a share of the other's, or the worst such share;
seconds; GB.
"""

LOADED = 0.25
"""Cores in use by others from which a row is doubted."""
SPREAD = 2.0
"""How many times longer than its least the baseline's median may take before the baseline is said
to have collapsed.
"""
SLOWEST = 0.002
"""Share of the machine's products that a baseline of products reaches at least."""


class Skipped(Exception):
    """This machine cannot measure a case; the message says why."""


@dataclass(frozen=True)
class Shape:
    """Rows of a batch, steps, and width of input and state; in generation streams, symbols of each,
    and width.
    """

    batch: int
    steps: int
    width: int

    def __str__(self) -> str:
        return f"B{self.batch} T{self.steps} H{self.width}"


SHAPES: dict[str, Shape] = {
    "D": Shape(1, 1000, 128),
    "S": Shape(8, 64, 64),
    "M": Shape(32, 128, 256),
    "L": Shape(64, 128, 512),
}
"""The shapes of a layer; input size and state are equally wide."""

STREAMS: dict[str, Shape] = {
    "H128": Shape(1, 256, 128),
    "H512": Shape(1, 256, 512),
    "256 H128": Shape(256, 32, 128),
}
"""The shapes of generation."""


@dataclass(frozen=True)
class Setting:
    """Under which every case is measured."""

    machine: Machine
    pairs: int = 7
    shapes: Mapping[str, Shape] = field(default_factory=lambda: {**SHAPES, **STREAMS})
    text: int = 1 << 30  # bytes of the file of row 11

    @property
    def few(self) -> int:
        """Repetitions of what takes seconds each time."""
        return min(self.pairs, 3)


@dataclass(frozen=True)
class Finding:
    """What a case has measured.

    `ours` and `other` are seconds of each pair, and `other` is empty where nothing stands beside.
    `flops` and `bytes` are what one of `ours` computes and moves at the least. `work` is how much
    more ours does than the other.
    """

    ours: list[float]
    other: list[float] = field(default_factory=list)
    flops: float = 0.0
    bytes: float = 0.0
    work: float = 1.0
    path: str = ""
    loaded: bool = False  # whether the case itself keeps the machine busy


@dataclass(frozen=True)
class Case:
    """One line of the table: a row of it at one shape, and what it must reach."""

    row: int
    what: str
    shape: str
    unit: Unit
    floor: float | None
    measure: Callable[[Shape, Setting], Finding]


@dataclass(frozen=True)
class Record:
    """What came of a case; without a `value` it says why in `skipped` or `error`."""

    row: int
    what: str
    shape: str
    size: str
    unit: Unit
    floor: float | None
    value: float | None = None
    spread: tuple[float, float] | None = None
    share: float | None = None
    share_of: str = ""
    path: str = ""
    ours: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    skipped: str = ""
    error: str = ""
    load: float | None = None  # cores that others have used meanwhile, where the system tells
    doubts: tuple[str, ...] = ()  # why the value may say nothing of recurra

    @property
    def reached(self) -> bool | None:
        """Whether the floor is reached; None where there is none, or nothing was measured."""
        if self.value is None or self.floor is None:
            return None
        return self.value >= self.floor if self.unit == "speed" else self.value <= self.floor

    def data(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return {**asdict(self), "reached": self.reached}


def measured(case: Case, setting: Setting) -> Record:
    """Measure a case; what goes wrong in it is told in its record."""
    shape = setting.shapes.get(case.shape, Shape(0, 0, 0))
    size = str(shape) if shape.width else ""
    about = (case.row, case.what, case.shape, size, case.unit, case.floor)
    others = Load()
    try:
        found = case.measure(shape, setting)
    except Skipped as reason:
        return Record(*about, skipped=str(reason))
    except Exception as error:  # whatever it is, the other cases can still be measured
        said = " ".join(str(error).split())[:500]
        return Record(
            *about, error=f"{type(error).__name__}: {said}" if said else type(error).__name__
        )
    load = None if found.loaded else others.foreign()
    values = _values(case.unit, found)
    share, of = _share(found, setting.machine)
    return Record(
        *about,
        value=max(values) if case.unit == "worst" else median(values),
        spread=(min(values), max(values)),
        share=share,
        share_of=of,
        path=found.path,
        ours=found.ours,
        other=found.other,
        load=load,
        doubts=tuple(_doubts(case.unit, found, setting.machine, load)),
    )


def _doubts(unit: Unit, found: Finding, machine: Machine, load: float | None) -> Iterator[str]:
    """Give the reasons why a ratio may say more of the machine than of what is measured."""
    if load is not None and load >= LOADED:
        yield f"others used {load:.1f} cores"
    if found.loaded or not found.other or unit == "worst":  # whose pairs are of different sizes
        return
    if median(found.other) > SPREAD * min(found.other):
        yield f"the baseline took {median(found.other) / min(found.other):.1f} times its least"
    if found.flops and found.flops / found.work / min(found.other) < SLOWEST * machine.flops:
        yield f"the baseline ran at less than {100 * SLOWEST:g} % of the machine's products"


def _values(unit: Unit, found: Finding) -> list[float]:
    """Return the value of each pair."""
    if not found.other:
        return found.ours
    ratios = [
        other / ours * found.work for ours, other in zip(found.ours, found.other, strict=True)
    ]
    return ratios if unit == "speed" else [1 / ratio for ratio in ratios]


def _share(found: Finding, machine: Machine) -> tuple[float | None, str]:
    """Return the share of what the machine can do, and of which of its limits."""
    if found.flops:
        return found.flops / median(found.ours) / machine.flops, "products"
    if found.bytes:
        return found.bytes / median(found.ours) / machine.copied, "copying"
    return None, ""
