"""How fast recurra is on this machine, as ratios to what one would write by hand, measured side by
side in one run.
"""
