"""Whether the plugins of a run are of the versions that it was made with."""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, version

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


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
