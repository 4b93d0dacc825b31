"""Cells, or other options, beside each other: at an equal budget, over several seeds."""
