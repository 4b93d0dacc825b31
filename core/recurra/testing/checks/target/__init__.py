"""Checks of a target."""
