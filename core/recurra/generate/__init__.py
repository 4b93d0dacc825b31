"""Sampling, sessions, and the one generation loop for symbols and numbers."""
