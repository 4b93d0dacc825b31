"""How a recurrence is executed: by the eager loop, or by a faster path that must equal it.

The loop is always right.
"""
