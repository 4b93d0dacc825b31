"""What this distribution offers."""

from recurra import Component, hookimpl

OFFERED = {
    "cell": ("ebb", "Ebb", "a leaky integrator with one gate"),
    "encoder": ("turns", "Turns", "each symbol as points on circles"),
    "loss": (
        "smoothed",
        "Smoothed",
        "cross entropy with a share of the target spread over all symbols",
    ),
    "source": ("sums", "Sums", "sums of two numbers, as text"),
    "vocabulary": ("common", "Common", "characters, the most frequent first"),
}


@hookimpl
def recurra_components():
    """Return one component of each kind."""
    return [
        Component(
            kind=kind,
            name=name,
            target=f"recurra_keepsake.{kind}:{title}",
            options=f"recurra_keepsake.options:{title}Options",
            summary=summary,
        )
        for kind, (name, title, summary) in OFFERED.items()
    ]
