"""What tables say of features of their stamps: what is refused, and what is asked of recurra."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from recurra import Calendar, Fourier, InputError
from recurra_sources.given import Given, GivenOptions
from recurra_sources.tables import Csv, CsvOptions

TIMED: dict[str, Any] = {"columns": ["y"], "time": "t"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"calendar": ["hour", "hour"]}, "named 2 times"),
        ({"fourier": {"fortnight": 1}}, "no period"),
        ({"fourier": {"1 steps": 1}}, "no period"),
        ({"fourier": {"year": 0}}, "greater than or equal to 1"),
        ({"holidays": ["25/12/2025"]}, "no date"),
        ({"holidays": ["2025-02-29"]}, "no date"),
        ({"holidays": ["2025-12-25", "2025-12-25"]}, "named twice"),
        ({"calendar": ["hour"], "frequency": "none"}, "nobody knows the stamp"),
        ({"calendar": ["hour"], "time": None}, "time names no column"),
        ({"fourier": {"day": 1}, "time": None}, "time names no column"),
        ({"holidays": ["2025-12-25"], "time": None}, "time names no column"),
    ],
)
def test_what_says_nothing_is_refused(options: dict[str, Any], words: str) -> None:
    """It is refused with what is wrong, before any data is read."""
    with pytest.raises(ValidationError, match=words):
        GivenOptions.model_validate({**TIMED, **options})


def test_what_is_asked_of_stamps(tmp_path: Any) -> None:
    """Words come first, then waves in their order; without any of it nothing is asked."""
    path = tmp_path / "a.csv"
    path.write_text("t,y\n2024-01-01,1\n2024-01-02,2\n")
    asked = {
        "calendar": ["weekday", "weekend"],
        "fourier": {"year": 3, "36.5 steps": 1},
        "holidays": ["2024-01-01"],
    }
    source = Csv(CsvOptions.model_validate({**TIMED, "path": str(path), **asked}))
    waves = [Fourier("year", 3), Fourier(36.5, 1)]
    assert source.calendar() == Calendar.of(["weekday", "weekend", *waves], [date(2024, 1, 1)])
    assert source.over(str(path)).calendar() == source.calendar()
    assert Csv(CsvOptions.model_validate({**TIMED, "path": str(path)})).calendar() is None


@pytest.mark.parametrize("option", [{"calendar": ["hour"]}, {"fourier": {"day": 1}}])
def test_tokens_have_no_features(option: dict[str, Any]) -> None:
    """They are read beside numbers alone."""
    source = Given(GivenOptions.model_validate({**TIMED, **option}))
    source.take({"t": ["2024-01-01T00", "2024-01-01T01"], "y": ["a", "b"]})
    with pytest.raises(InputError, match="is for numbers alone"):
        [*source.read("tokens")]
