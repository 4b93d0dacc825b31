"""First-party trackers."""

from __future__ import annotations

from recurra import Component, hookimpl


@hookimpl
def recurra_components() -> list[Component]:
    """Return the trackers."""
    rows = [
        ("csv", "Csv", "a table of all figures in the run's folder, or in one of your own"),
        ("tensorboard", "Tensorboard", "event files of TensorBoard, in the run's folder or another"),
        ("mlflow", "Mlflow", "a run in MLflow, on a server or in files"),
    ]
    return [
        Component(
            kind="tracker",
            name=name,
            target=f"recurra_trackers.{name}:{title}",
            options=f"recurra_trackers.options:{title}Options",
            summary=summary,
            api="1.2",
        )
        for name, title, summary in rows
    ]
