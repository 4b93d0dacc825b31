"""The command `cache`: what is kept for later tasks, and what of it can go."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recurra.cli.common import Json, counted, print_json
from recurra.cli.visible import visible
from recurra.errors import InputError

if TYPE_CHECKING:
    from recurra.upkeep import Listing

SHOWN = 12
"""Entries of a kind that are listed, the largest first."""
UNITS = {"h": 3600.0, "d": 86400.0, "w": 604800.0}
NAMES = {
    "corpus": "encoded corpora",
    "kernel": "compiled kernels",
    "timings": "times of paths",
    "rest": "locks, and what was not finished or is damaged",
}


def cache(
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove what was not used for 30 days, and what dead processes left."
        ),
    ] = False,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", help="With --prune: not used for so long, 12h, 7d or 4w.", metavar="AGE"
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="With --prune: all that is not in use.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List what is kept for later tasks (encoded corpora, kernels, times of paths), or prune it."""
    from recurra import upkeep

    unused = _age(older_than)
    if (everything or unused is not None) and not prune:
        said = "--all" if everything else "--older-than"
        raise InputError.of("RC080", f"{said} says what to remove", cure="add --prune")

    found = upkeep.listing()
    done = None
    if prune:
        done = upkeep.prune(found, upkeep.UNUSED if unused is None else unused, everything)
    if as_json:
        data: dict[str, Any] = {
            "folder": str(found.folder),
            "entries": [entry.as_data() for entry in found.entries],
            "bytes": found.bytes,
            "others": found.others,
        }
        if done is not None:
            data["removed"] = [entry.name for entry in done.removed]
            data["freed"] = done.bytes
            data["in_use"] = done.in_use
            data["failed"] = done.failed
        print_json(data)
        return
    if done is None:
        _show(found)
        return

    print(f"{found.folder}: removed {_entries(len(done.removed))}, {_size(done.bytes)} freed")
    left = len(found.entries) - len(done.removed)
    print(f"{_entries(left)} left, {_size(found.bytes - done.bytes)}")
    if done.in_use:
        print(f"{_entries(done.in_use)} in use, and so not removed")
    for name in done.failed:
        print(f"could not be removed: {name}")


def _age(text: str | None) -> float | None:
    """Return an age in seconds. Raises `InputError` (RC080) for what is none."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([hdw])", text)
    if not match:
        fact = "--older-than is a number of hours, days or weeks"
        raise InputError.of("RC080", fact, got=text, allowed="12h, 7d, 4w")
    return float(match[1]) * UNITS[match[2]]


def _show(found: Listing) -> None:
    """Print the entries by kind."""
    from recurra.upkeep import KINDS

    print(f"{found.folder}: {_entries(len(found.entries))}, {_size(found.bytes)}")
    for kind in KINDS:
        own = [entry for entry in found.entries if entry.kind == kind]
        if not own:
            continue
        size = sum(entry.bytes for entry in own)
        print(f"\n{NAMES[kind]}: {len(own)}, {_size(size)}")
        own.sort(key=lambda entry: (-entry.bytes, entry.name))
        for entry in own[:SHOWN]:
            used = "in use" if entry.in_use else f"used {_ago(entry.used)}"
            made = " ".join(
                f"{name} {value}"
                for name, value in (("recurra", entry.recurra), ("torch", entry.torch))
                if value
            )
            age = "" if entry.age is None else f"made {_ago(entry.age)}"
            line = f"  {_size(entry.bytes):>9}  {used:20}{age:20}  {entry.of or entry.name}  {made}"
            print(visible(line.rstrip()))
        if len(own) > SHOWN:
            print(f"  and {len(own) - SHOWN} more")
    if found.others:
        print(f"\n{counted(found.others, 'other thing')} there, not recurra's, and left alone")
    if found.entries:
        print("\nto remove what was not used for 30 days: recurra cache --prune")


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _size(count: float) -> str:
    if count < 1000:
        return f"{count:.0f} B"
    power = min(int(math.log10(count)) // 3, 4)
    return f"{count / 1000**power:.1f} {'kMGT'[power - 1]}B"


def _ago(seconds: float) -> str:
    for unit, name in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= unit:
            return f"{counted(int(seconds // unit), name)} ago"
    return "just now"
