"""Sequences, splits, windows, lanes and batches `(x, y, mask, reset)`; seeded, resumable, in
constant memory.
"""
