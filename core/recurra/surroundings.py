"""What is around recurra: what can be wrong there, found before it stops a command, and a start.

There may be damaged distributions, and odd variables. torch and pydantic read the entry points of
every distribution while they are imported, and one file that cannot be read ends the import. So
these lists are read here first, and where one is damaged, both are told to leave them alone.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recurra.errors import RecurraWarning, nearest

LEFT_ALONE = {
    "torch": ("TORCH_DEVICE_BACKEND_AUTOLOAD", "0"),
    "pydantic": ("PYDANTIC_DISABLE_PLUGINS", "__all__"),
}
"""The variable by which a package is told not to read entry points.

Its own plugins are then not loaded.
"""

VARIABLES = {
    "RECURRA_CACHE": "",
    "RECURRA_DUMP": "",
    "RECURRA_JAX": "",
    "RECURRA_MEASURE": "0 or 1",
    "RECURRA_ONNXRUNTIME": "",
    "RECURRA_PHASES": "",
    "RECURRA_PLUGINS": "",
    "RECURRA_PLUGINS_BLOCK": "",
    "RECURRA_PLUGINS_STRICT": "0 or 1",
    "RECURRA_TIMEOUT": "",
}
"""The variables that recurra reads, each with what it may be where not everything is."""


CROWD = 4
"""Threads a core, at most.

With many more each waits for the others, and the system may not have them.
"""


def cores() -> int:
    """Return how many cores this machine has."""
    return os.cpu_count() or 1


def most_threads() -> int:
    """Return how many threads a task may ask for on this machine."""
    return CROWD * cores()


class Damaged(RecurraWarning, RuntimeWarning):
    """A distribution is installed whose metadata cannot be read."""


def identity(distribution: Any) -> tuple[str, str]:
    """Return name and version of a distribution, as its metadata or its folder say."""
    try:
        metadata = distribution.metadata
        name, version = metadata.get("Name"), metadata.get("Version")
    except Exception:
        # Damaged in any way.
        name = version = None

    # Of `recurra_leaky-1.0.dist-info` the stem is `recurra_leaky-1.0`.
    folder = Path(str(getattr(distribution, "_path", "")))
    parts = folder.stem.split("-")
    if not name:
        name = parts[0] or "unknown"
    if not version:
        version = parts[1] if len(parts) > 1 else "0"
    return str(name), str(version)


def damaged() -> Iterator[tuple[Any, Exception]]:
    """Give each distribution whose entry points cannot be read, with the reason."""
    # Here, since it costs what `--help` need not pay.
    from importlib.metadata import distributions

    for distribution in distributions():
        try:
            list(distribution.entry_points)
        except Exception as error:
            yield distribution, error


class _Lookout:
    """Stands before all finders of modules until torch or pydantic is first imported.

    It finds nothing itself.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Look at the installed distributions before a package does that they would stop."""
        if name not in LEFT_ALONE:
            return
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        leave_damaged_alone()


def leave_damaged_alone() -> None:
    """Tell torch and pydantic to read no entry points, if any cannot be read.

    It warns (`Damaged`) of that.
    """
    names = []
    for distribution, error in damaged():
        name, version = identity(distribution)
        reason = " ".join(str(error).split())
        names.append(f"{name} {version} ({reason})")
    if not names:
        return

    for variable, value in LEFT_ALONE.values():
        os.environ.setdefault(variable, value)
    fact = (
        f"the entry points of {', '.join(names)} cannot be read, so torch and pydantic load no"
        " plugins of their own"
    )
    warnings.warn(f"{fact}; install it again, or uninstall it", Damaged, stacklevel=2)


def look_out() -> None:
    """Look at the installed distributions once, when torch or pydantic is first imported."""
    if LEFT_ALONE.keys() - sys.modules.keys():
        sys.meta_path.insert(0, _Lookout())


@contextmanager
def loading() -> Iterator[None]:
    """Load modules, and look for no garbage in them, neither meanwhile nor ever after.

    A process that is recurra's own begins so: of some 300,000 objects that importing torch makes
    none is garbage, and to look for it again and again takes a sixth of that import. Where torch is
    there already, or nobody looks for garbage, the process is somebody else's, and is left alone.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return

    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def odd_variables() -> Iterator[str]:
    """Give a sentence for each variable of recurra's that is unknown or means nothing."""
    for name, value in os.environ.items():
        if not name.startswith("RECURRA_"):
            continue
        allowed = VARIABLES.get(name)
        if allowed is None:
            oddity = f"{name} is no variable of recurra's"
            close = nearest(name, VARIABLES)
            yield f"{oddity}; did you mean {close}?" if close else oddity
        elif allowed and value and value not in allowed.split(" or "):
            yield f"{name}={value!r} means nothing: it may be {allowed}"
        elif name == "RECURRA_PLUGINS" and not value.strip(" ,"):
            yield (
                f"{name} is empty: no plugin loads but recurra's own; unset it to let all of them"
                " load"
            )
