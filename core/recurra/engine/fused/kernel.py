"""The passes that make a kernel of a step: lower, schedule, lay out, emit."""

from __future__ import annotations

from collections.abc import Sequence
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

    @property
    def apart(self) -> bool:
        """Whether threads may share the columns of a row without waiting for each other."""
        return all(schedule.apart(self.lowered.state) for schedule in self.schedules)

    def stages(self) -> dict[str, object]:
        """Return what each pass made, by the name of the pass; printed, it can be read."""
        return {
            "vectors": self.lowered,
            "schedule": _forward_backward(self.schedules),
            "layout": _forward_backward(self.layouts),
            "emit": self.source,
        }


def _forward_backward(functions: Sequence[object]) -> str:
    """Return the text of the function that goes forward, and of that of the gradients, if any."""
    texts = [str(function) for function in functions]
    return "forward\n" + "\n\nbackward\n".join(texts)


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

    # What all rows share is computed once a window, before the kernel is called.
    program = lowered.program
    once = subgraph(program, program.nodes, joint.shared, lowered.shared)
    slots = range(len(lowered.shared))
    return Kernel(
        source=source,
        lowered=lowered,
        schedules=schedules,
        layouts=layouts,
        scratch=scratch,
        once=once,
        by_element=tuple(slot in lowered.by_element for slot in slots),
    )
