"""What answers several steps at once is held to what it may know, whatever part of it looks on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from liars import entry
from liars.targets import RIGHT

from recurra.data.batches import Batch
from recurra.data.companions import Companions
from recurra.model.decoder import Beside, Decoder
from recurra.testing.suite import Examination, all_checks

COMPONENTS = {component.name: component for component in RIGHT}
Fault = Callable[[pytest.MonkeyPatch], None]


def next_step(patch: pytest.MonkeyPatch) -> None:
    """Let a linear map read what is known of the step after its own."""
    own = Beside.forward
    patch.setattr(Beside, "forward", lambda self, x: own(self, x.roll(-1, dims=-2)))


def backwards(patch: pytest.MonkeyPatch) -> None:
    """Let a decoder go on from its last step to its first."""
    own = Decoder.forward

    def turned(self: Decoder, left: Any, coming: Any) -> Any:
        return own(self, left, coming.flip(1)).flip(1)

    patch.setattr(Decoder, "forward", turned)


def one_too_far(patch: pytest.MonkeyPatch) -> None:
    """Let batches give each step ahead what is known of the one after it."""
    own = Batch.ahead
    patch.setattr(Batch, "ahead", lambda self: own(self).roll(-1, dims=2))


def too_early(patch: pytest.MonkeyPatch) -> None:
    """Let a step be read with what is known of one far ahead."""
    own = Companions.window

    def later(self: Companions, first: Any, count: int) -> Any:
        return own(self, np.minimum(first + 6, len(self.store) - 1), count)

    patch.setattr(Companions, "window", later)


def its_answer(patch: pytest.MonkeyPatch) -> None:
    """Let the first answer be added to what is read."""
    own = Batch.ahead

    def told(self: Batch) -> Any:
        ahead = own(self)
        return ahead + self.y[..., :1].roll(-1, dims=2)

    patch.setattr(Batch, "ahead", told)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("right_ahead", next_step),
        ("right_ahead", one_too_far),
        ("right_ahead", too_early),
        ("right_decoder", backwards),
        ("right_decoder", one_too_far),
        ("right_decoder", its_answer),
    ],
)
def test_a_network_that_looks_ahead_is_caught(
    name: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part of the network that reads what it must not know yet fails T13."""
    examination = Examination(entry(COMPONENTS[name]))
    check = all_checks()["T13"]
    assert examination.run(check).verdict == "PASS"
    fault(monkeypatch)
    record = examination.run(check)
    assert record.verdict == "FAIL"
    assert "seen before it" in record.detail
