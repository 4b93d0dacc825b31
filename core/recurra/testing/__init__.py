"""The contract suite: what a plugin must keep, measured; for pytest, Python and the terminal.

    from recurra.testing import CellContract

    class TestLeaky(CellContract):
        component = "leaky"

Names are loaded when they are first used: pytest imports this module in every project, and only
some of them need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra.testing.contract import (
        CellContract,
        EncoderContract,
        LossContract,
        SourceContract,
        TargetContract,
        TrackerContract,
        VocabularyContract,
    )
    from recurra.testing.lookup import find
    from recurra.testing.records import Record, Report
    from recurra.testing.suite import all_checks, examine, prescribed

_HOME = {
    "CellContract": "contract",
    "EncoderContract": "contract",
    "LossContract": "contract",
    "Record": "records",
    "Report": "records",
    "SourceContract": "contract",
    "TargetContract": "contract",
    "TrackerContract": "contract",
    "VocabularyContract": "contract",
    "all_checks": "suite",
    "examine": "suite",
    "find": "lookup",
    "prescribed": "suite",
}

__all__ = [
    "CellContract",
    "EncoderContract",
    "LossContract",
    "Record",
    "Report",
    "SourceContract",
    "TargetContract",
    "TrackerContract",
    "VocabularyContract",
    "all_checks",
    "examine",
    "find",
    "prescribed",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'recurra.testing' has no attribute {name!r}")
    return getattr(import_module(f"recurra.testing.{_HOME[name]}"), name)
