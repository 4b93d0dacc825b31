"""Inputs at random, and who watches what comes out.

It is a result or one of recurra's own errors, whatever comes in.
"""
