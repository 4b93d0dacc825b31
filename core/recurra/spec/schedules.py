"""The schedules of the learning rate, as a task file names them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recurra.spec.table import MOST, Table


class AnySchedule(Table):
    """What every schedule has."""

    warmup_steps: int = Field(
        0, ge=0, le=MOST, description="steps over which the rate rises from 0"
    )


class Falling(AnySchedule):
    """What every schedule has that falls until the end."""

    final: float = Field(
        0.0, ge=0, le=1, description="share of the rate that is reached at the end"
    )


class Constant(AnySchedule):
    """The rate stays as it is."""

    kind: Literal["constant"] = "constant"


class Cosine(Falling):
    """The rate falls along half a cosine to `final` of itself."""

    kind: Literal["cosine"] = "cosine"


class Linear(Falling):
    """The rate falls along a line to `final` of itself."""

    kind: Literal["linear"] = "linear"


class Plateau(AnySchedule):
    """The rate is cut when validation stops improving."""

    kind: Literal["plateau"] = "plateau"
    factor: float = Field(0.5, gt=0, lt=1, description="what the rate is multiplied by")
    patience: int = Field(
        3, ge=0, le=MOST, description="validations without improvement before the rate is cut"
    )


Schedule = Annotated[Constant | Cosine | Linear | Plateau, Field(discriminator="kind")]

SCHEDULES: dict[str, type[AnySchedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "linear": Linear,
    "plateau": Plateau,
}
