"""Sweeps: values of a task's keys, drawn and tried until the best is known, and judged once."""
