"""Checks of a vocabulary."""
