"""The run directory, checkpoints, metrics: all that a run leaves behind, and nothing of it
pickled.
"""
