"""How a recurrence is executed: the eager loop, which is always right, and faster paths that must
equal it.
"""
