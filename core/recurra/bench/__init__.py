"""How fast recurra is on this machine, beside what one would write by hand.

The figures are ratios: both sides are measured in turn, in one run.
"""
