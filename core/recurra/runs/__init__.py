"""The run folder, checkpoints, metrics: all that a run leaves behind, none of it pickled."""
