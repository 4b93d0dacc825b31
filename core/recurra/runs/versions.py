"""Whether a run is used as it was made: with plugins of the same versions, on the same execution paths."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from recurra.engine.paths import Choice
from recurra.errors import OtherVersion
from recurra.runs.folder import RunFolder


def warn_of_others(folder: RunFolder) -> None:
    """Warn (`OtherVersion`) if a distribution that a run uses is installed in another version than the run records.

    One that is not installed at all is not told here: it is an error once its component is looked for.
    """
    recorded = {plugin["distribution"]: plugin["version"] for plugin in folder.read("plugins.json")}
    others = [
        f"{name} {before} (now {now})"
        for name, before in recorded.items()
        if not name.startswith("file:") and (now := _installed(name)) not in (before, None)
    ]
    if others:
        cure = "its weights may mean something else"
        warnings.warn(f"{folder.path} was made with {' and '.join(others)}; {cure}", OtherVersion, stacklevel=3)


def warn_of_other_paths(folder: RunFolder, recorded: Sequence[str], choices: Sequence[Choice]) -> None:
    """Warn (`OtherVersion`) if a run goes on on another path than it records: its bits are then no more the same."""
    for before, choice in zip(recorded, choices, strict=True):
        if choice.path != before:
            fact = f"{folder.path} was trained on path {before}, refused here: {choice.refused[before]}"
            warnings.warn(f"{fact}; on {choice.path} it is equal up to rounding", OtherVersion, stacklevel=3)
            return


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
