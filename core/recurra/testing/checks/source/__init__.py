"""Checks of a source."""
