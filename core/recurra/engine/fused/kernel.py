"""The passes that make a kernel of a step: lower, schedule, lay out, emit."""

from __future__ import annotations

from dataclasses import dataclass

from recurra.engine.fused import layout, schedule
from recurra.engine.fused.emit_c import emit
from recurra.engine.fused.gradient import Joint
from recurra.engine.fused.layout import Layout
from recurra.engine.fused.lower import Lowered, lower
from recurra.engine.fused.schedule import Schedule
from recurra.engine.fused.subgraph import Subgraph, subgraph


@dataclass(frozen=True)
class Kernel:
    """A kernel's source, and what its functions, forward and backward, read and write."""

    source: str
    lowered: Lowered
    schedules: list[Schedule]
    layouts: list[Layout]
    scratch: list[int]  # how many numbers of their own they need for a row
    once: Subgraph  # (rows, *shared) -> values for all rows
    by_element: tuple[bool, ...]  # which of those are read by their elements

    def stages(self) -> dict[str, object]:
        """Return what each pass made, by the name of the pass; printed, it can be read."""
        backwards = "\n\nbackward\n"
        return {
            "vectors": self.lowered,
            "schedule": f"forward\n{backwards.join(map(str, self.schedules))}",
            "layout": f"forward\n{backwards.join(map(str, self.layouts))}",
            "emit": self.source,
        }


def kernel(joint: Joint) -> Kernel:
    """Return the kernel of a step with its gradients; of a step alone, where there are none.

    Raises `Unsupported` for what it cannot do.
    """
    lowered = lower(joint)
    schedules = [schedule.forward(lowered)]
    layouts = [layout.forward(lowered, schedules[0])]
    if joint.grads:
        schedules.append(schedule.backward(lowered))
        layouts.append(layout.backward(lowered, schedules[1]))

    source, scratch = emit(lowered, schedules, layouts)
    once = subgraph(lowered.program, lowered.program.nodes, joint.shared, lowered.shared)
    by_element = tuple(slot in lowered.by_element for slot in range(len(lowered.shared)))
    return Kernel(source, lowered, schedules, layouts, scratch, once, by_element)
