"""The machine on which the tests of the bench measure."""

from __future__ import annotations

from recurra.bench.machine import Machine
from recurra.bench.records import Setting

MACHINE = Machine("a processor", 1, "a system", "3", "2", "0", flops=1e9, copied=1e9)
SETTING = Setting(MACHINE, pairs=2)
