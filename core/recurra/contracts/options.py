"""The options of a component: its own pydantic model, strict, frozen and described."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo


class Options(BaseModel):
    """Base of every options model: it refuses unknown keys and lax types, and is frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class BlockOptions(Options):
    """What stands round a cell in a deep stack: x + cell(norm(x)), then x +
    feed_forward(norm(x)).
    """

    norm: Literal["rms", "layer"] = Field(
        "rms", description="what each branch is normalised by before it"
    )
    convolution: int = Field(
        0,
        ge=0,
        le=256,
        description="steps that a causal convolution before the cell looks over; 0 is none",
    )
    feed_forward: float = Field(
        0.0,
        ge=0,
        le=64,
        description="width inside the gated feed-forward, in widths of the block; 0 is none",
    )


class CellOptions(Options):
    """What every cell has: the engine reads all but `hidden_size`.

    So a cell describes one layer, one way.
    """

    hidden_size: int = Field(64, ge=1, le=1 << 20, description="width of the state")
    num_layers: int = Field(1, ge=1, le=1024, description="layers of this cell, one on the other")
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description=(
            "share of each layer's outputs dropped, the last one's too; in a block of what each"
            " branch adds"
        ),
    )
    bidirectional: bool = Field(
        False, description="read both ways; refused where the task must be causal"
    )
    block: BlockOptions | None = Field(
        None,
        description=(
            "put each layer into a block: norm before it, residual round it, as wide as its input"
        ),
    )


class GatedOptions(CellOptions):
    """What every gated cell has: how its weights begin."""

    init: Literal["uniform", "orthogonal", "xavier", "identity"] = Field(
        "uniform",
        description=(
            "uniform: torch's own, within 1/sqrt(hidden_size); orthogonal: recurrent map"
            " orthogonal, input map xavier; xavier: both xavier; identity: recurrent map the"
            " identity, input map xavier (biases 0 in all three)"
        ),
    )


class LossColumn(Options):
    """What a loss is told of one column."""

    weight: float = Field(
        1.0, ge=0, le=1e6, description="what its errors weigh beside those of other columns"
    )


class LossOptions(Options):
    """What every loss of numbers has that scores each element by itself: the core reads it."""

    columns: dict[str, LossColumn] | None = Field(
        None,
        description=(
            "what columns weigh, a table [loss.columns.NAME] each; one that is not named weighs 1"
        ),
    )


class SymbolOptions(Options):
    """What every vocabulary of symbols has."""

    unknown: Literal["error", "token", "skip"] = Field(
        "error",
        description=(
            "what to do with a symbol that is not known: refuse it, use one token for all, leave"
            " it out"
        ),
    )


class TrackerOptions(Options):
    """What every tracker has: the engine reads it."""

    timeout: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="seconds that a call may take before the run goes on without the tracker",
    )


def to_json(table: dict[str, Any]) -> str:
    """Return a TOML table as JSON, for pydantic to judge.

    Dates become strings; nan and inf stay what they are.
    """
    return json.dumps(table, default=str, ensure_ascii=False)


def _anchored(path: str, info: ValidationInfo) -> str:
    anchor: Callable[[str, str], str] | None = (info.context or {}).get("anchor")
    return anchor(path, info.field_name or "") if anchor else path


FilePath = Annotated[str, Field(min_length=1), AfterValidator(_anchored)]
"""A path in a task file, absolute once the task is read.

It is taken from the folder of the file that names it.
"""


def validate_options(
    model: type[Options], table: dict[str, Any], anchor: Callable[[str, str], str]
) -> Options:
    """Return a component's options from a raw table, by pydantic's strict JSON mode.

    Lax mode takes `true` for 1 and `"64"` for 64; strict Python mode refuses a list for a tuple.
    Raises `pydantic.ValidationError` with every fault of the table.
    """
    return model.model_validate_json(to_json(table), context={"anchor": anchor})
