"""Whatever comes in, what comes out is a result or one of recurra's own errors: inputs at random,
and who watches.
"""
