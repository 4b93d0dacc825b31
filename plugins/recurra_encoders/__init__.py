"""First-party encoders."""

from __future__ import annotations

from recurra import Component, hookimpl

EXAMPLES = {"calendar": ({"periods": [12.0]}, {"periods": [7.0, 365.25], "harmonics": 2})}
"""Tables that an encoder is checked under whose options have no default."""


@hookimpl
def recurra_components() -> list[Component]:
    """Return the encoders."""
    rows = [
        ("one_hot", "OneHot", "each symbol as a vector with a single one"),
        ("embedding", "Embedding", "each symbol as a learned vector, or a given one"),
        (
            "convolution",
            "Convolution",
            "each step with the few before it, through a causal convolution",
        ),
        ("calendar", "Calendar", "each step's numbers, and where it stands in each cycle"),
        ("linear", "Linear", "each step's numbers through a learned linear map"),
        ("identity", "Identity", "each step's numbers as they are"),
    ]
    return [
        Component(
            kind="encoder",
            name=name,
            target=f"recurra_encoders.{name}:{title}",
            options=f"recurra_encoders.options:{title}Options",
            summary=summary,
            api="1.1" if name == "embedding" else "1.0",
            examples=EXAMPLES.get(name, ()),
        )
        for name, title, summary in rows
    ]
