"""Pictures as SVG, with their data, from numpy alone.

A `Picture` has panels: a `Plot` of marks between two axes, a `Table`, or a text that is `Tagged`.
"""

from __future__ import annotations

from recurra.drawing.columns import Column
from recurra.drawing.marks import Band, Bars, HeatMap, Line, Mark, Points, Rule
from recurra.drawing.picture import Panel, Picture
from recurra.drawing.plot import Plot
from recurra.drawing.scales import Axis
from recurra.drawing.tables import Piece, Table, Tagged

__all__ = [
    "Axis",
    "Band",
    "Bars",
    "Column",
    "HeatMap",
    "Line",
    "Mark",
    "Panel",
    "Picture",
    "Piece",
    "Plot",
    "Points",
    "Rule",
    "Table",
    "Tagged",
]
