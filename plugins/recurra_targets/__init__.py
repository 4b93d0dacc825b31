"""First-party targets."""

from __future__ import annotations

from recurra import Component, hookimpl


@hookimpl
def recurra_components() -> list[Component]:
    """Return the targets."""
    rows = [
        ("next", "Next", "the element after each step"),
        ("label", "Label", "one class a sequence"),
        ("value", "Value", "numbers for a sequence"),
        ("completion", "Completion", "the answer that follows a sequence"),
        ("tags", "Tags", "one class a step"),
        ("horizon", "Horizon", "the next steps of a series at once"),
    ]
    return [
        Component(
            kind="target",
            name=name,
            target=f"recurra_targets.{name}:{title}",
            options=f"recurra_targets.options:{title}Options",
            summary=summary,
            api="1.1",
        )
        for name, title, summary in rows
    ]
