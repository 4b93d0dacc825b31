"""Finding the components that a name means, as each face of the suite is asked for them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from recurra.catalog import Entry, discover
from recurra.contracts.component import KINDS
from recurra.errors import InputError, nearest


def find(name: str, kind: str | None = None, files: Iterable[Path] = ()) -> list[Entry]:
    """Return what a name, short or qualified, means.

    That is the component of a `kind`, or one of each kind that has the name.

    `files` are local plugin files. Raises `InputError` (RC020, RC021) if there is none or it is not
    clear which, and `PluginError` (RC022, RC070) if the plugin that should offer it did not load.
    """
    if kind is not None and kind not in KINDS:
        raise InputError.of(
            "RC080",
            f"there is no kind {kind!r}",
            allowed=", ".join(KINDS),
            nearest=nearest(kind, KINDS),
        )
    catalog = discover(files)
    return catalog.of_any_kind(name) if kind is None else [catalog.find(kind, name)]
