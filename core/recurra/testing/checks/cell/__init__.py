"""Checks of a cell."""
