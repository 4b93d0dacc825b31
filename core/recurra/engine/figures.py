"""An earlier name of `recurra.engine.machine`, by which build.py still asks."""

from recurra.engine.machine import machine as machine
