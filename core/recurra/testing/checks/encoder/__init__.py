"""Checks of an encoder."""
