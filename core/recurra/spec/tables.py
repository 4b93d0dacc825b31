"""The core's own tables of a task file.

A component's table is raw here: its plugin checks it later.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, field_validator, model_validator

from recurra.contracts.options import FilePath
from recurra.spec.schedules import Constant, Schedule
from recurra.spec.table import MOST as MOST
from recurra.spec.table import Table

SCHEMA = 1
"""The version of the task language."""

RESTART = 0.1
"""The chance that a lane begins a window afresh, where a task with carry does not say."""


MOST_FILES, MOST_LAYERS, MOST_TRACKERS = 100, 1024, 16
"""Local plugins, layers of a stack, and trackers that a task may name."""


class Plugins(Table):
    """Local plugin files and folders that this task loads."""

    files: list[FilePath] = Field(
        default=[],
        max_length=MOST_FILES,
        description="Python files, or folders with an `__init__.py`, that offer components",
    )


Rest: TypeAlias = Literal["rest"]


def _check_held(held: list[float]) -> None:
    """Refuse what validation and test may not take where training takes the rest."""
    if any(share < 0 for share in held):
        raise ValueError("no share may be below 0")
    counts = all(share == int(share) for share in held)
    if not counts and sum(held) >= 1:
        raise ValueError(
            f"shares of {sum(held):g} leave training nothing; whole numbers are taken as counts"
        )


def _check_shares(shares: list[float]) -> None:
    """Refuse shares that do not add up to 1, and are no counts."""
    if any(share < 0 for share in shares) or shares[0] <= 0:
        raise ValueError("the training share must be above 0 and no share below 0")
    counts = all(share == int(share) for share in shares) and sum(shares) > 1
    if not counts and abs(sum(shares) - 1) > 1e-6:
        raise ValueError(
            f"shares must add up to 1, got {sum(shares):g}; whole numbers are taken as counts"
        )


class Sequence(Table):
    """How sequences are cut into windows, and dealt out to the splits."""

    length: int = Field(
        64,
        ge=0,
        le=MOST,
        description=(
            "steps per window: the truncation length of back-propagation through time; where a"
            " sequence is answered once it may be 0, the longest sequence, which it is where it is"
            " left out"
        ),
    )
    stride: int = Field(
        0,
        ge=0,
        le=MOST,
        description="steps from one window to the next; 0 is `length`, so that none overlap",
    )
    carry: bool = Field(False, description="state goes on from window to window, detached")
    restart: float = Field(
        0.0,
        ge=0,
        le=1,
        description=(
            "with carry: the chance that a lane begins a window with a fresh state, so that the"
            f" network does not unlearn how to begin, as generation does; {RESTART:g} where it is"
            " left out, 0 is only with each epoch"
        ),
    )
    split: list[float | Rest] = Field(
        default=[1.0, 0.0, 0.0],
        min_length=3,
        max_length=3,
        description=(
            'train, validation, test: shares that add up to 1, or counts; ["rest", 0, 6] leaves'
            " training what the others do not count; contiguous for streams and series, by sequence"
            " otherwise, of each label its share; left out where the source gives each sequence its"
            " fold"
        ),
    )
    split_by: Literal["auto", "sequence", "position", "time"] = Field(
        "auto",
        description=(
            "what `split` cuts: sequence, whole sequences are dealt out; position, one line of all"
            " steps; time, each sequence, whose last steps are test; auto, position for a stream or"
            " one series, else sequence"
        ),
    )
    leave_off: int = Field(
        0,
        ge=0,
        le=MOST,
        description=(
            "steps at the end of each series of numbers that are left off before anything else is"
            " done with it, as in each fold of a backtest"
        ),
    )
    season: int = Field(
        0,
        ge=0,
        le=MOST,
        description="steps in a season, for seasonal baselines and the scale of mase; 0 is none",
    )

    @model_validator(mode="before")
    @classmethod
    def _carried_lanes_restart(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("carry") is True:
            return {"restart": RESTART, **table}
        return table

    @field_validator("split")
    @classmethod
    def _split_adds_up(cls, split: list[float | Rest]) -> list[float | Rest]:
        train, *held = split
        if "rest" in held:
            raise ValueError('the rest is training\'s: only the first of the three may be "rest"')
        numbers = [float(share) for share in held]
        if train == "rest":
            _check_held(numbers)
        else:
            _check_shares([float(train), *numbers])
        return split

    @model_validator(mode="after")
    def _carried_windows_follow(self) -> Sequence:
        if self.carry and self.stride not in (0, self.length):
            raise ValueError(
                "stride: with carry = true windows follow each other, so stride must be left out"
            )
        if self.restart and not self.carry:
            raise ValueError(
                "restart: without carry = true every window begins afresh, so restart must be"
                " left out"
            )
        return self

    @property
    def counted(self) -> bool:
        """Whether `split` holds counts rather than shares."""
        if self.takes_rest:
            return sum(self.held) >= 1
        return float(self.split[0]) + sum(self.held) > 1 + 1e-6

    @property
    def takes_rest(self) -> bool:
        """Whether training takes what the other splits leave."""
        return self.split[0] == "rest"

    @property
    def held(self) -> list[float]:
        """What validation and test take, as shares or counts."""
        return [float(share) for share in self.split[1:]]


class Training(Table):
    """How long, how fast, and when to look."""

    epochs: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description="passes over the training split; without epochs and steps it is 10 epochs",
    )
    steps: int | None = Field(
        None, ge=1, le=MOST, description="updates of the weights, in place of epochs"
    )
    batch_size: int = Field(
        1, ge=1, le=MOST, description="windows per step; with carry, the number of lanes"
    )
    accumulate: int = Field(
        1, ge=1, le=MOST, description="batches whose gradients are added up before an update"
    )
    optimizer: dict[str, Any] = Field(
        default={"kind": "adam", "lr": 0.001},
        description="kind: any class of torch.optim by its name; the other keys are its arguments",
    )
    schedule: Schedule = Field(
        default=Constant(),
        description=(
            "what becomes of the learning rate: constant, cosine, linear or plateau, each with"
            " warmup_steps"
        ),
    )
    clip_norm: float = Field(
        0.0, ge=0, description="largest norm of the whole gradient; 0 is no clipping"
    )
    validate_every: int = Field(
        0, ge=0, le=MOST, description="steps between validations; 0 is once an epoch"
    )
    checkpoint_every: int = Field(
        0,
        ge=0,
        le=MOST,
        description=(
            "steps between checkpoints; 0 is at each validation, every minute and at the end"
        ),
    )
    keep_checkpoints: int = Field(
        2, ge=1, le=MOST, description="of the last checkpoints so many stay, and the best"
    )
    patience: int = Field(
        0, ge=0, le=MOST, description="validations without improvement before an end; 0 is never"
    )
    min_delta: float = Field(
        0.0, ge=0, description="the smallest change of the monitored metric that counts"
    )
    monitor: str = Field(
        "loss",
        description=(
            "the metric that decides which checkpoint is best: any that a validation prints"
        ),
    )

    @model_validator(mode="after")
    def _one_length(self) -> Training:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("steps: give epochs or steps, not both")
        return self


IDLE = "narrows what is drawn from, and at temperature 0 nothing is drawn: the likeliest is taken"
"""Why a key of `Generation.idle` is refused."""


def _finite_or_nan(number: float) -> float:
    if math.isinf(number):
        raise ValueError("a number must be finite, or nan where it is missing")
    return number


MayLack: TypeAlias = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_finite_or_nan)]
"""A number, or nan, which is one that is missing."""


class Generation(Table):
    """What `run` generates when it is done, and the defaults of `generate`."""

    prompt: str | list[str] | list[MayLack] | list[list[MayLack]] | None = Field(
        None,
        description=(
            "what to go on from: text, or numbers; numbers go on from the series' end by default"
        ),
    )
    position: int = Field(
        0,
        ge=0,
        le=MOST,
        description="where in its sequence the prompt begins, for an encoder with a clock",
    )
    warm: bool = Field(
        False, description="read the end of the training text, or of the series, before the prompt"
    )
    length: int = Field(100, ge=0, le=MOST, description="how many elements to generate")
    temperature: float = Field(0.0, ge=0, description="0 is greedy; 1 samples as the network says")
    top_k: int = Field(0, ge=0, le=MOST, description="sample among the k likeliest; 0 is all")
    top_p: float = Field(
        1.0, gt=0, le=1, description="sample among the likeliest that hold this share"
    )
    min_p: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="leave out what is less likely than this share of the likeliest",
    )
    repetition_penalty: float = Field(
        1.0, gt=0, description="above 1 makes what has come already less likely"
    )
    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[], description="texts that end the generation; they are not part of it"
    )
    levels: list[Annotated[float, Field(gt=0, lt=100)]] | None = Field(
        None,
        min_length=1,
        description=(
            "per cent of what comes that intervals of a forecast are to hold, between 0 and 100;"
            " left out, 80 and 95 where it has a spread"
        ),
    )

    paths: int = Field(
        100,
        ge=1,
        le=1 << 20,
        description=(
            "ways on which a series may go on that are drawn step by step for intervals, where the"
            " loss is a distribution"
        ),
    )

    @field_validator("levels")
    @classmethod
    def _levels_differ(cls, levels: list[float] | None) -> list[float] | None:
        if levels is not None and len(set(levels)) < len(levels):
            raise ValueError("each level stands once")
        return levels

    @property
    def idle(self) -> list[str]:
        """The keys that narrow what is drawn from, where nothing is: at temperature 0."""
        if self.temperature:
            return []
        plain = Generation.model_fields
        narrowing = ("top_k", "top_p", "min_p")
        return [name for name in narrowing if getattr(self, name) != plain[name].default]


class Device(Table):
    """Where and how the arithmetic is done."""

    kind: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$",
        description="auto: the first CUDA device, else mps, else the CPU; cuda:1 is the second",
    )
    precision: Literal["float32", "bfloat16", "float64"] = Field(
        "float32",
        description=(
            "the type of all numbers; bfloat16: of the products of encoder and head alone, float32"
            " elsewhere"
        ),
    )
    path: Literal["auto", "eager", "native", "fused", "scan", "chunkwise"] = Field(
        "auto",
        description=(
            "how recurrences are executed; auto: on the fastest that is proved equal to the cell's"
            " step"
        ),
    )
    threads: int = Field(0, ge=0, le=4096, description="0 is torch's choice, and 1 for small tasks")
    determinism: Literal["strict", "relaxed"] = Field(
        "strict",
        description=(
            "strict: the same machine gives the same bits; relaxed: an operation of torch that is"
            " not deterministic is taken"
        ),
    )


Band = Annotated[list[float], Field(min_length=2, max_length=2)]


class Expect(Table):
    """Bands that `recurra run --expect` checks after the run."""

    loss_below: float | None = Field(None, description="of the split that is evaluated")
    accuracy_above: float | None = Field(
        None, ge=0, le=1, description="share of symbols predicted rightly"
    )
    mape_below: float | None = Field(
        None, gt=0, description="per cent, of the free-running forecast where there is one"
    )
    metrics: dict[str, Band] | None = Field(
        None,
        description=(
            "between what each metric must lie, { accuracy = [0.8, 1.0] }, any that a validation"
            " prints; a forecast's, where there is one"
        ),
    )
    beats_baselines: bool | None = Field(
        None, description="whether the model must beat the best baseline"
    )
    generated: str | None = Field(None, description="what must be generated, prompt included")
    forecast: list[float] | None = Field(
        None, description="the first numbers that must be generated"
    )
    within: float = Field(0.0, ge=0, description="how far each may lie from `forecast`")


COMPONENT_TABLES = ("source", "vocabulary", "target", "encoder", "cell", "loss")

TRACK = "track"
"""The list of tables of trackers: it is no part of what a run is."""

DEFAULT_TARGET = "next"
"""What is asked where a task does not say."""
GIVEN_SOURCE = "given"
"""Where sequences come from where a program gives data, and the source has its own."""

CORE_TABLES = ("plugins", "sequence", "training", "generation", "device", "expect")

TABLES: frozenset[tuple[str | int, ...]] = frozenset(
    {(name,) for name in (*COMPONENT_TABLES, *CORE_TABLES)}
    | {("training", "optimizer"), ("training", "schedule")}
)
"""The key of each table of the language: nothing else can stand there."""


class Task(Table):
    """One task file. The tables of components are raw: each plugin checks its own."""

    schema_version: int = Field(SCHEMA, alias="schema", description="version of the task language")
    name: str = Field(
        "",
        max_length=100,
        pattern=r"^[\w.-]*$",
        description="names the run's folder; left out, the file's name",
    )
    seed: int = Field(0, ge=0, lt=1 << 63, description="where all random numbers come from")
    plugins: Plugins = Plugins()
    source: dict[str, Any] = Field(description="where sequences come from")
    vocabulary: dict[str, Any] = Field(description="how raw elements become ids or numbers")
    target: dict[str, Any] = Field(
        default={"kind": DEFAULT_TARGET},
        description="what is asked of a sequence; the element after each step",
    )
    sequence: Sequence = Sequence()
    encoder: dict[str, Any] = Field(description="how a step's input becomes a vector")
    cell: dict[str, Any] = Field(
        description="the recurrence; or [[cell.stack]] tables, one for each layer"
    )
    loss: dict[str, Any] = Field(description="what training makes small")
    training: Training = Training()
    generation: Generation = Generation()
    device: Device = Device()
    expect: Expect = Expect()
    track: list[dict[str, Any]] = Field(
        default=[],
        max_length=MOST_TRACKERS,
        description=(
            "[[track]] tables, one for each tracker that is told of the run while it is trained; no"
            " part of the run"
        ),
    )
