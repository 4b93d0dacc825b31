"""Whether a run is used as it was made: with the same plugins, on the same execution paths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version

from recurra.catalog import Entry
from recurra.engine.choice import Choice
from recurra.errors import InputError, OtherVersion, warn
from recurra.runs.folder import RunFolder


def warn_of_others(folder: RunFolder) -> None:
    """Warn (`OtherVersion`) if a distribution is installed in another version than recorded.

    One that is not installed at all is not told here: it is an error once its component is looked
    for.
    """
    recorded = {plugin.distribution: plugin.version for plugin in folder.records.plugins()}
    others = []
    for name, before in recorded.items():
        # A local file has no version: its text is compared elsewhere.
        if name.startswith("file:"):
            continue
        now = _installed(name)
        if now not in (before, None):
            others.append(f"{name} {before} (now {now})")
    if others:
        fact = f"{folder.path} was made with {' and '.join(others)}"
        warn(f"{fact}; its weights may mean something else", OtherVersion)


def changed_files(folder: RunFolder, used: Iterable[Entry]) -> list[str]:
    """Return the local plugin files and folders in use that have changed since the run was made."""
    recorded = {plugin.name: plugin.version for plugin in folder.records.plugins()}
    # A dict for its order: a file may offer several components.
    origins: dict[str, None] = {}
    for entry in used:
        plugin = entry.plugin
        if plugin.is_local and recorded.get(entry.qualified) != plugin.version:
            origins[plugin.origin] = None
    return list(origins)


def warn_of_changed_files(folder: RunFolder, used: Iterable[Entry]) -> None:
    """Warn (`OtherVersion`) if a local plugin file was edited since the run was made.

    A comment alone may be enough.
    """
    if origins := changed_files(folder, used):
        fact = f"{' and '.join(origins)} changed since {folder.path} was made"
        warn(f"{fact}; its weights may mean something else", OtherVersion)


def refuse_changed_files(folder: RunFolder, used: Iterable[Entry]) -> None:
    """Raise `InputError` (RC045) if a local plugin file was edited since the run was made.

    Training would not go on as it began.
    """
    if origins := changed_files(folder, used):
        fact = f"{' and '.join(origins)} changed since {folder.path} was made"
        cure = (
            "bring it back as it was, or take it as it is now with --changed-plugins, which is"
            " recorded"
        )
        raise InputError.of("RC045", fact, cure=cure)


def warn_of_other_paths(
    folder: RunFolder, recorded: Sequence[str], choices: Sequence[Choice]
) -> None:
    """Warn (`OtherVersion`) if a run goes on on another path than it records.

    Its bits are then no more the same.
    """
    for before, choice in zip(recorded, choices, strict=True):
        if choice.path != before:
            fact = (
                f"{folder.path} was trained on path {before}, refused here:"
                f" {choice.refused[before]}"
            )
            warn(f"{fact}; on {choice.path} it is equal up to rounding", OtherVersion)
            return


def warn_of_other_device(folder: RunFolder, now: str) -> None:
    """Warn (`OtherVersion`) if a run goes on on a device of another kind.

    Its bits are then no more the same.
    """
    before = folder.records.environment().device
    # cuda:1 is of the same kind as cuda:0.
    same_kind = before.partition(":")[0] == now.partition(":")[0]
    if before and not same_kind:
        fact = f"{folder.path} was trained on {before}, and goes on on {now}"
        more = "it is equal up to rounding, but for the noise of dropout"
        warn(f"{fact}: {more}", OtherVersion)


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
