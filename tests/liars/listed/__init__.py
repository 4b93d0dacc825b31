"""Modules as a plugin would list itself with, each of which does what none may."""
