"""The options of numeric, and those of one of its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, ValidationInfo, model_validator

from recurra import Field, Options
from recurra_vocabularies.moments import ScaleKind

LONGEST_SEASON = 10_000
LEAST_POWER = 0.01
"""Of a smaller one little is left of a number's digits."""

Scale: TypeAlias = ScaleKind | Literal["change"]
By: TypeAlias = Literal["all", "series"]
Power: TypeAlias = Literal["none", "fit"] | Annotated[float, Field(ge=0, le=1)]
Times: TypeAlias = Annotated[int, Field(ge=0, le=2)]
Season: TypeAlias = Annotated[int, Field(ge=0, le=LONGEST_SEASON)]

OF_SERIES = ("scale_by", "difference", "seasonal_difference")
"""What hangs on the series that a number stands in."""


class NumericColumn(Options):
    """What one column has of its own; what it does not say is as `[vocabulary]` says."""

    scale: Scale | None = Field(None, description="its scale")
    scale_by: By | None = Field(None, description="whether by all of training, or by series")
    log: bool | None = Field(
        None, description="logarithms first; who says this, or box_cox, has none of the other"
    )
    box_cox: Power | None = Field(
        None, description="a power first; fit: the likeliest of this column in training"
    )
    difference: Times | None = Field(None, description="differences to the step before")
    seasonal_difference: Season | None = Field(None, description="steps of its season")

    def said(self) -> dict[str, Any]:
        """Return what it says."""
        return self.model_dump(exclude_none=True)


def _with_the_whole(column: NumericColumn, info: ValidationInfo) -> NumericColumn:
    """Refuse what contradicts, beside what `[vocabulary]` says of all columns, each other."""
    whole = {name: info.data[name] for name in NumericColumn.model_fields if name in info.data}
    # What is wrong with those that lack has been said.
    if len(whole) == len(NumericColumn.model_fields):
        check(_merged(whole, column))
    return column


class NumericOptions(Options):
    """Options of numeric."""

    scale: Scale = Field(
        "standard",
        description=(
            "change: by the mean change from one step to the next, of each series; max: by the"
            " largest magnitude; mean: by the mean magnitude; minmax: to 0..1; robust: to median 0,"
            " the middle half as wide as 1; standard: to mean 0, deviation 1; none"
        ),
    )
    scale_by: By = Field(
        "all",
        description=(
            "series: each series by its own part in training, a new one by the rows that are given"
            " of it"
        ),
    )
    log: bool = Field(
        False, description="take logarithms first: for series whose swings grow with their level"
    )
    box_cox: Power = Field(
        "none",
        description=(
            "take a power first, from 0.01 to 1, or 0, logarithms; fit: the likeliest of them in"
            " training"
        ),
    )
    difference: Times = Field(
        0, description="how many times a step stands for its distance from the one before"
    )
    seasonal_difference: Season = Field(
        0, description="steps of a season: each step stands for its distance from a season ago"
    )
    columns: dict[str, Annotated[NumericColumn, AfterValidator(_with_the_whole)]] | None = Field(
        None,
        description=(
            "what single columns have of their own, by name: [vocabulary.columns.NAME]; columns"
            " without names are called 0, 1 and so on; of a covariate of numbers scale, log and"
            " box_cox"
        ),
    )

    @model_validator(mode="after")
    def _once(self) -> NumericOptions:
        check(self.whole())
        return self

    def whole(self) -> dict[str, Any]:
        """Return what is said of all columns."""
        return {name: getattr(self, name) for name in NumericColumn.model_fields}

    def of(self, name: str) -> NumericOptions:
        """Return what holds of one column."""
        column = (self.columns or {}).get(name, NumericColumn())
        return NumericOptions(**_merged(self.whole(), column))

    def of_covariates(self, names: Sequence[str]) -> NumericOptions:
        """Return what holds of covariates, of which some have options of their own.

        They are scaled as the columns, by all of training, and nothing else is done with them.
        """
        scale = "standard" if self.scale == "change" else self.scale
        own = {name: (self.columns or {})[name] for name in names}
        return NumericOptions(scale=scale, columns=own or None)


def check(options: Mapping[str, Any]) -> None:
    """Refuse options that contradict each other. Raises `ValueError`."""
    if options["log"] and options["box_cox"] != "none":
        raise ValueError("log and box_cox both stand first: leave one of them out")
    power = options["box_cox"]
    if isinstance(power, float) and 0 < power < LEAST_POWER:
        raise ValueError("a power below 0.01 is hardly one: box_cox = 0 takes logarithms")
    if options["scale"] == "change" and options["scale_by"] == "all":
        raise ValueError(
            'scale = "change" is that of each series: set scale_by = "series", or take another'
            " scale"
        )
    if options["scale"] == "none" and options["scale_by"] == "series":
        raise ValueError(
            'scale = "none" scales no series: leave scale_by out, or take another scale'
        )


def _merged(whole: Mapping[str, Any], column: NumericColumn) -> dict[str, Any]:
    """Return the options of a column: its own, and else those of all."""
    said = column.said()
    merged = {**whole, **said}
    # These two are one choice, and what is not scaled is scaled by nothing.
    if "box_cox" in said and "log" not in said:
        merged["log"] = False
    if "log" in said and "box_cox" not in said:
        merged["box_cox"] = "none"
    if said.get("scale") == "none" and "scale_by" not in said:
        merged["scale_by"] = "all"
    return merged
