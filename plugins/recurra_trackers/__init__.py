"""First-party trackers."""

from __future__ import annotations

from recurra import Component, hookimpl

EXAMPLES = {"mlflow": ({"uri": "sqlite:///mlflow.db"},)}
"""Tables that a tracker is checked under where its defaults lead out of the current folder."""

WAIVERS = {"mlflow": {"P09": "MLflow sets up logging, and keeps a connection to its store"}}
"""Checks that one fails, with the reason."""


@hookimpl
def recurra_components() -> list[Component]:
    """Return the trackers."""
    rows = [
        ("csv", "Csv", "a table of all figures, beside the run or in a folder"),
        (
            "tensorboard",
            "Tensorboard",
            "event files of TensorBoard, beside the run or in a folder",
        ),
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
            examples=EXAMPLES.get(name, ()),
            waivers=WAIVERS.get(name, {}),
        )
        for name, title, summary in rows
    ]
