"""First-party losses."""

from __future__ import annotations

from recurra import Component, hookimpl


@hookimpl
def recurra_components() -> list[Component]:
    """Return the losses."""
    rows = [
        (
            "cross_entropy",
            "CrossEntropy",
            "negative log-likelihood of the symbol that came, in nats",
        ),
        ("mse", "MSE", "squared error, mean over the features"),
        ("mae", "MAE", "absolute error, mean over the features"),
        ("huber", "Huber", "squared error near 0, absolute beyond delta"),
    ]
    return [
        Component(
            kind="loss",
            name=name,
            target=f"recurra_losses.{name}:{title}",
            options=f"recurra_losses.options:{title}Options",
            summary=summary,
            cite="Huber 1964, doi:10.1214/aoms/1177703732" if name == "huber" else "",
            api="1.1" if name == "cross_entropy" else "1.0",
        )
        for name, title, summary in rows
    ]
