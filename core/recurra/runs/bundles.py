"""What a bundle's manifest says: which run it holds, and what the files in it are for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recurra.errors import InputError
from recurra.runs import archive
from recurra.runs.archive import Archive, Entry
from recurra.runs.records import PLUGINS, Component, Count, Model

FORMAT = 1
"""Of a bundle, as its manifest says it."""
RUN, ORIGIN, CODE, DATA, BESIDE = "run", "origin", "plugins", "data", "files"
"""The folders of a bundle: the run, the one that it starts from, its local plugins, its data, and
other files that its task names.
"""
CODE_KEY = ("plugins", "files")
"""The table and the key of a task that name local plugins."""


class Held(Model):
    """A file of data: its name, its size and its hash, by which it can be found again."""

    name: str
    size: Count
    sha256: str


class Place(Model):
    """A path in a task: the table and the key that name it, and what it was when the run was made.

    What takes its place is an `entry` of the bundle, or a folder or pattern of them; without one
    the `files` tell what was there.
    """

    table: str
    key: str
    path: str
    entry: str | None = None
    files: list[Held] = []

    @property
    def name(self) -> str:
        """The dotted key."""
        return f"{self.table}.{self.key}"


class Start(Model):
    """How a run starts from another one: from which checkpoint, and what it takes of it."""

    checkpoint: str
    add_symbols: bool
    refit_scale: bool
    places: list[Place]


class Bundle(Model):
    """manifest.json of a bundle, but for its entries.

    It is made after `step` updates of a run that was `finished` or not; its data may have been
    `given` by a program.
    """

    format: int
    recurra: str
    task: str
    step: Count
    finished: bool
    given: bool
    with_data: bool
    places: list[Place]
    start: Start | None = None


@contextmanager
def opened(path: Path) -> Iterator[tuple[Archive, Bundle]]:
    """Open a bundle, whose entries are those that its manifest lists.

    Raises `InputError` (RC056).
    """
    with archive.opened(path) as held:
        version = held.about.get("format")
        if version != FORMAT:
            held.refuse(f"its format is {str(version)[:20]}, and this recurra reads {FORMAT}")
        try:
            bundle = Bundle.model_validate(held.about)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            held.refuse(f"{archive.MANIFEST}: {key}: {first['msg']}")
        for place in [*bundle.places, *(bundle.start.places if bundle.start else ())]:
            entry = place.entry or BESIDE
            is_code = place.table == CODE_KEY[0]
            if archive.misnamed(entry) or is_code != entry.startswith(f"{CODE}/"):
                held.refuse(f"its {archive.MANIFEST} takes {entry[:80]!r} for what it is not")
        yield held, bundle


def components(held: Archive, folder: str = RUN) -> list[Component]:
    """Return what plugins.json of a run in a bundle says. Raises `InputError` (RC056)."""
    found: list[Component] = parsed(held, f"{folder}/plugins.json", PLUGINS.validate_json)
    return found


def parsed(held: Archive, name: str, model: Any) -> Any:
    """Return what a model makes of an entry. Raises `InputError` (RC056) where it makes nothing."""
    content = held.read(name)
    try:
        return model(content)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise archive.refused(held.path, f"{name} cannot be read: {reason}") from error


def code_of(held: Archive, bundle: Bundle) -> list[tuple[str, Entry]]:
    """Return the files of a bundle that are code, which runs only where the user says so."""
    return [(name, held.entries[name]) for name in held.below(CODE)]


def refuse_code(held: Archive, bundle: Bundle) -> None:
    """Raise `InputError` (RC046) for the code that a bundle brings, if any: what would run."""
    code = code_of(held, bundle)
    if not code:
        return
    recorded = {
        each.version
        for folder in (RUN, ORIGIN)
        if f"{folder}/plugins.json" in held.entries
        for each in components(held, folder)
        if each.distribution.startswith("file:")
    }
    listed = [f"{name}, {each.size:,} bytes, sha256:{each.sha256}" for name, each in code[:8]]
    if len(code) > len(listed):
        listed.append(f"and {len(code) - len(listed)} more")
    fact = f"{held.path} brings code of its own, which would run"
    cure = (
        f"look at it: `unzip -p {held.path} {code[0][0]}`, or `python -m zipfile -e {held.path}"
        " FOLDER` writes all of it; then give --trust"
    )
    allowed = f"what the run was made with: {', '.join(sorted(recorded))}"
    raise InputError.of("RC046", fact, got="; ".join(listed), allowed=allowed, cure=cure)
