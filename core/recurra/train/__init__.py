"""Optimizer, schedule, evaluation, baselines, and the one training loop."""
