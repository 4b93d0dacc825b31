"""What one key of a task may be: a range of numbers, or some values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from pydantic import Field, model_validator

from recurra.spec import checking
from recurra.spec.document import Key, same
from recurra.spec.table import Table

MOST_VALUES = 1000
"""Values of one key."""


class Range(Table):
    """Numbers from `low` to `high`, both included."""

    low: int | float = Field(description="the least")
    high: int | float = Field(description="the greatest")
    log: bool = Field(False, description="whether each factor is as likely as another")
    step: int | float | None = Field(None, gt=0, description="only every so many")
    when: dict[str, Any] = Field(default={}, description="values of other keys with which it is")

    @model_validator(mode="after")
    def _is_one(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"high: the range is empty: {self.high} is not above {self.low}")
        if self.log and self.low <= 0:
            raise ValueError(f"low: a log range begins above 0, and not at {self.low}")
        if self.step is not None:
            if self.log:
                raise ValueError("step: a log range has none")
            if self.step > self.high - self.low:
                raise ValueError(f"step: {self.step} is wider than the range")
            if not self.whole and (self.high - self.low) / self.step > MOST_VALUES * 1000:
                raise ValueError(f"step: {self.step} is too fine for the range")
        return self

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole ones."""
        return all(isinstance(each, int) for each in (self.low, self.high, self.step or 1))

    @property
    def count(self) -> float:
        """How many numbers it has."""
        step = self.step or (1 if self.whole else 0)
        return int((_exact(self.high) - _exact(self.low)) // _exact(step)) + 1 if step else math.inf

    def at(self, share: float) -> int | float:
        """Return the number at a share of the range, from 0 to below 1, as evenly as it draws."""
        if self.count < math.inf and not self.log:
            return self.nth(min(int(share * self.count), int(self.count) - 1))
        if not self.log:
            return self.low + share * (self.high - self.low)
        # The whole numbers of a log range have each their share, as those between k and k + 1.
        low, high = (self.low, self.high + 1) if self.whole else (self.low, self.high)
        value = low * (high / low) ** share
        value = min(max(value, self.low), self.high)
        return int(value) if self.whole else value

    def nth(self, number: int) -> int | float:
        """Return the number that comes so many steps after the least."""
        if self.whole:
            return self.low + number * (self.step or 1)
        return float(_exact(self.low) + number * _exact(self.step or 1))


def _exact(number: float) -> Decimal:
    """Return a number as it is written: tenths are no sums of halves."""
    return Decimal(str(number))


class Choices(Table):
    """One of some values, of any type that the key takes."""

    choices: list[Any] = Field(min_length=1, max_length=MOST_VALUES, description="the values")
    when: dict[str, Any] = Field(default={}, description="values of other keys with which it is")

    @model_validator(mode="after")
    def _are_several(self) -> Choices:
        if len(self.choices) < 2:
            raise ValueError("choices: one value is no choice")
        for number, value in enumerate(self.choices):
            if any(same(value, other) for other in self.choices[:number]):
                raise ValueError(f"choices: {checking.literal(value)} stands there twice")
        return self


@dataclass(frozen=True)
class Domain:
    """A key of the task, by its dotted name, where it stands in the space, and what it may be.

    It is there only when the keys in `when` have one of the values that are said there.
    """

    name: str
    at: Key
    model: Range | Choices
    when: Mapping[str, list[Any]]

    @property
    def labels(self) -> list[str]:
        """How its values are called, where it has some."""
        assert isinstance(self.model, Choices)
        return [checking.literal(value) for value in self.model.choices]

    @property
    def count(self) -> float:
        """How many values it has."""
        return len(self.model.choices) if isinstance(self.model, Choices) else self.model.count

    def nth(self, number: int) -> Any:
        """Return one of its values, of which there are so many that they can be counted."""
        if isinstance(self.model, Choices):
            return self.model.choices[number]
        return self.model.nth(number)

    def at_share(self, share: float) -> Any:
        """Return the value at a share from 0 to below 1."""
        if isinstance(self.model, Choices):
            values = self.model.choices
            return values[min(int(share * len(values)), len(values) - 1)]
        return self.model.at(share)

    def tried(self) -> list[Any]:
        """Return the values that a task must take before there is any trial."""
        if isinstance(self.model, Choices):
            return list(self.model.choices)
        return [self.model.low, self.model.at(0.5), self.model.high]

    def is_there(self, values: Mapping[str, Any]) -> bool:
        """Tell whether it is there when other keys have these values."""
        return all(
            name in values and any(same(values[name], each) for each in allowed)
            for name, allowed in self.when.items()
        )

    def floating(self) -> Domain:
        """Return it as a range of any numbers, where whole ones were written for them."""
        model = self.model
        if isinstance(model, Choices) or model.step is not None or not model.whole:
            return self
        ends = {"low": float(model.low), "high": float(model.high)}
        return replace(self, model=model.model_copy(update=ends))

    def table(self) -> dict[str, Any]:
        """Return it as plain data."""
        table = self.model.model_dump(mode="json", exclude_none=True, exclude={"when"})
        return table | ({"when": dict(self.when)} if self.when else {})
