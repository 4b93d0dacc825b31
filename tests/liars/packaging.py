"""Components that are right, and wrongly packed, listed, described or configured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ConfigDict, field_validator, model_validator

from liars import Liar
from liars.reference import REFERENCE, Reference, ReferenceOptions
from recurra import Field
from recurra.catalog import Entry, Plugin

HOME = "liars.packaging"
PLUGIN = Plugin("liars", "recurra-liars", "1.0", "liars")


@dataclass(frozen=True)
class PluginLiar(Liar):
    """A right component whose plugin is wrong."""

    plugin: Plugin = field(default=PLUGIN)

    @property
    def entry(self) -> Entry:
        """The component as the catalog would hold it."""
        return Entry(self.component, self.plugin)


class LaxOptions(ReferenceOptions):
    """P04: takes "64" for 64, and true for 1."""

    model_config = ConfigDict(strict=False)


class DeafOptions(ReferenceOptions):
    """P04: takes a misspelt key, and ignores it."""

    model_config = ConfigDict(extra="ignore")


class BlamingOptions(ReferenceOptions):
    """P04: refuses, but does not say which option is wrong."""

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, table: Any) -> Any:
        if isinstance(table.get("gain", 1.0), bool):
            raise ValueError("something is wrong")
        return table


class FallingOptions(ReferenceOptions):
    """P04: falls over what it does not expect."""

    @field_validator("gain", mode="before")
    @classmethod
    def _halve(cls, value: Any) -> Any:
        return value + 0.0  # of text, that is a TypeError


class WideOptions(ReferenceOptions):
    """P05: allows a gain of 0."""

    gain: float = Field(1.0, ge=0, le=2, description="what the proposal is multiplied by")


class Divides(Reference):
    """P05: cannot be built with a gain of 0."""

    def __init__(self, input_size: int, options: Any) -> None:
        super().__init__(input_size, options)
        self.inverse = 1 / options.gain


class OverflowsOptions(ReferenceOptions):
    """P05: allows a gain that is too much for float32."""

    gain: float = Field(1.0, gt=0, le=1e300, description="what the proposal is multiplied by")


class MuteOptions(ReferenceOptions):
    """P06: does not say what an option does."""

    extra: int = 3


class Mute(Reference):
    __doc__ = None


class UnlikelyOptions(ReferenceOptions):
    """P06: has a default that it refuses."""

    extra: float = Field(3.0, le=1, description="a number")


class DoublesOptions(ReferenceOptions):
    """P07: its gain is another each time it is read."""

    @field_validator("gain")
    @classmethod
    def _grow(cls, value: float) -> float:
        return value * 1.5


def wrong(check: str, *others: str, plugin: Plugin = PLUGIN, **changes: Any) -> Liar:
    """Return the reference with something changed."""
    return PluginLiar(check, replace(REFERENCE, **changes), frozenset(others), plugin)


def with_options(title: str) -> dict[str, str]:
    """Return the change to other options."""
    return {"options": f"{HOME}:{title}"}


LIARS: list[Liar] = [
    wrong("P01", api="1.9"),
    wrong("P02", plugin=replace(PLUGIN, origin="liars.listed.heavy")),
    wrong("P02", plugin=replace(PLUGIN, origin="liars.listed.loud")),
    wrong("P02", plugin=replace(PLUGIN, origin="liars.listed.idle")),
    wrong("P02", plugin=replace(PLUGIN, origin="liars.listed.meddling")),
    wrong("P03", target="liars.seeds:Seeds"),
    wrong("P04", **with_options("LaxOptions")),
    wrong("P04", **with_options("DeafOptions")),
    wrong("P04", **with_options("BlamingOptions")),
    wrong("P04", **with_options("FallingOptions")),
    wrong("P05", "C21", target=f"{HOME}:Divides", **with_options("WideOptions")),
    wrong("P05", **with_options("OverflowsOptions")),
    wrong("P06", **with_options("MuteOptions")),
    wrong("P06", target=f"{HOME}:Mute"),
    wrong("P06", summary=""),
    wrong("P06", "P07", **with_options("UnlikelyOptions")),
    wrong("P07", **with_options("DoublesOptions")),
    wrong("P08", plugin=replace(PLUGIN, distribution="pluggy")),
]
