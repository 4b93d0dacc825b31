"""The proof that a run of a task, killed and resumed, is the run that was never stopped."""
