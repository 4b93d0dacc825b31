"""Symbols and numbers, as far as the stages of a task differ by what is read or answered.

There is one object for each, in a table. The stages ask the object of their elements, and never
which of the two it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from recurra.job.elements.base import FEW, Counts, Elements, Scores
from recurra.job.elements.numbers import Numbers
from recurra.job.elements.symbols import Symbols

__all__ = ["ELEMENTS", "FEW", "Counts", "Elements", "Scores"]

ELEMENTS: Mapping[str, Elements] = {"symbols": Symbols(), "numbers": Numbers()}
"""By what a vocabulary yields: that of the input, or that of the answers."""
