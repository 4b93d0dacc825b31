"""What is measured, under which settings, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeAlias, TypeVar

from recurra.bench.machine import Machine
from recurra.engine.load import Load

Unit: TypeAlias = Literal["speed", "time", "worst", "s", "GB"]
"""What a value is: a ratio (`speed`, `time`, `worst`), seconds or gigabytes.

`speed` is how many times as fast as the other; `time` is its time as a share of the other's, and
`worst` the worst such share.
"""

LOADED = 0.25
"""Cores in use by others from which a row is doubted."""
SPREAD = 2.0
"""How many times its least the baseline's median may take; beyond that it has collapsed."""
SLOWEST = 0.002
"""Share of the machine's products that a baseline of products reaches at least."""


class Skipped(Exception):
    """This machine cannot measure a case; the message says why."""


@dataclass(frozen=True)
class Shape:
    """Rows of a batch, steps, and width of input and state.

    In generation these are streams, symbols of each, and width.
    """

    batch: int
    steps: int
    width: int

    @property
    def window(self) -> tuple[int, int, int]:
        """The sizes of a window `[B, T, D]`."""
        return self.batch, self.steps, self.width

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
    "256 H512": Shape(256, 16, 512),
}
"""The shapes of generation."""


Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Rivals:
    """Other libraries: the Python of each that is named, and what was measured beside them.

    `about` is what each tells of itself once it has run.
    """

    pythons: Mapping[str, Path] = field(default_factory=dict)
    threads: int = 1
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    memory: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, measure: Callable[[], Measured]) -> Measured:
        """Return what is measured, or raise what that raised; it happens once for a key."""
        if key not in self.memory:
            try:
                self.memory[key] = measure()
            except Exception as error:
                self.memory[key] = error
        outcome: Measured | Exception = self.memory[key]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@dataclass(frozen=True)
class Setting:
    """Under which every case is measured."""

    machine: Machine
    pairs: int = 7
    rivals: Rivals = field(default_factory=Rivals)
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
    more ours does than the other. `rival` is what stands beside, where it is the best of several.
    """

    ours: list[float]
    other: list[float] = field(default_factory=list)
    flops: float = 0.0
    bytes: float = 0.0
    work: float = 1.0
    path: str = ""
    loaded: bool = False  # whether the case itself keeps the machine busy
    rival: str = ""
    load: float | None = None  # cores that others used, where the case has looked itself
    processor: bool = False  # whether the seconds are the processor's
    walls: dict[str, list[float]] = field(default_factory=dict)  # those of the clock then


Measure: TypeAlias = Callable[[Shape, Setting], Finding]
"""Measures a case at a shape."""


@dataclass(frozen=True)
class Case:
    """One line of the table: a row of it at one shape, and what it must reach."""

    row: int
    what: str
    shape: str
    unit: Unit
    floor: float | None
    measure: Measure


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
    rival: str = ""  # what stands beside, where it is the best of several
    processor: bool = False  # whether the seconds are the processor's, and not the clock's
    walls: dict[str, list[float]] = field(default_factory=dict)  # those of the clock then

    @property
    def reached(self) -> bool | None:
        """Whether the floor is reached; None where there is none, or nothing was measured."""
        if self.value is None or self.floor is None:
            return None
        if self.unit == "speed":
            return self.value >= self.floor
        return self.value <= self.floor

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
        finding = case.measure(shape, setting)
    except Skipped as reason:
        return Record(*about, skipped=str(reason))
    except Exception as error:  # whatever it is, the other cases can still be measured
        return Record(*about, error=_in_a_line(error))

    load = finding.load
    if load is None and not finding.loaded:
        load = others.foreign()
    doubts = _doubts(case.unit, finding, setting.machine, load)
    share, limit = _share(finding, setting.machine)
    values = _values(case.unit, finding)
    return Record(
        *about,
        value=max(values) if case.unit == "worst" else median(values),
        spread=(min(values), max(values)),
        share=share,
        share_of=limit,
        path=finding.path,
        ours=finding.ours,
        other=finding.other,
        load=load,
        doubts=tuple(doubts),
        rival=finding.rival,
        processor=finding.processor,
        walls=finding.walls,
    )


def _in_a_line(error: Exception) -> str:
    """Return an error's kind and message in a line."""
    kind = type(error).__name__
    message = " ".join(str(error).split())[:500]
    return f"{kind}: {message}" if message else kind


def _doubts(unit: Unit, finding: Finding, machine: Machine, load: float | None) -> Iterator[str]:
    """Give the reasons why a ratio may say more of the machine than of what is measured."""
    if load is not None and load >= LOADED:
        yield f"others used {load:.1f} cores"

    # The pairs of a worst case are of different sizes: none repeats another.
    if finding.loaded or not finding.other or unit == "worst":
        return

    typical, least = median(finding.other), min(finding.other)
    if typical > SPREAD * least:
        yield f"the baseline took {typical / least:.1f} times its least"

    if finding.flops:
        speed = finding.flops / finding.work / least
        if speed < SLOWEST * machine.flops:
            yield f"the baseline ran at less than {100 * SLOWEST:g} % of the machine's products"


def _values(unit: Unit, finding: Finding) -> list[float]:
    """Return the value of each pair."""
    if not finding.other:
        return finding.ours

    pairs = zip(finding.ours, finding.other, strict=True)
    speeds = [other / ours * finding.work for ours, other in pairs]
    if unit == "speed":
        return speeds
    return [1 / speed for speed in speeds]


def _share(finding: Finding, machine: Machine) -> tuple[float | None, str]:
    """Return the share of what the machine can do, and of which of its limits."""
    seconds = median(finding.ours)
    if finding.flops:
        return finding.flops / seconds / machine.flops, "products"
    if finding.bytes:
        return finding.bytes / seconds / machine.copied, "copying"
    return None, ""
