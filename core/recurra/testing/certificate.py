"""A certificate: what the suite found, worth nothing once the component's code has changed.

One `contract.json` a folder holds those of all components whose module stands there. Reading it
imports nothing.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeGuard

import recurra
from recurra import system
from recurra.catalog import Entry
from recurra.errors import InputError
from recurra.runs.files import read_json, write_json
from recurra.testing.check import SUITE
from recurra.testing.records import Report

FILE = "contract.json"
State: TypeAlias = Literal["proved", "failed", "stale", "unproved"]


@dataclass(frozen=True)
class Standing:
    """What a certificate says now: which suite was kept, which checks failed or are waived.

    `stale`: it was given to other code, for other promises, or by an earlier suite than there are
    now.
    """

    state: State
    suite: str = ""
    level: str = ""
    failed: tuple[str, ...] = ()
    waived: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.state in ("unproved", "stale"):
            return self.state
        parts = [
            f"proved {self.suite}" if self.state == "proved" else f"failed {' '.join(self.failed)}"
        ]
        parts += ["core only"] if self.level == "core" else []
        parts += [f"waived {' '.join(self.waived)}"] if self.waived else []
        return ", ".join(parts)


def write(entry: Entry, report: Report) -> Path:
    """Write the certificate of a whole report; return its file.

    Raises `InputError` (RC080) if checks are missing, and `RunError` (RC053).
    """
    target = module_file(entry, entry.component.target)
    if target is None:
        raise InputError.of(
            "RC080", f"{entry.qualified}: the file of {entry.component.target} is not known"
        )
    if report.missing > 0:
        fact = (
            f"{entry.qualified}: only {len(report.records)} of {report.prescribed} prescribed"
            " checks ran"
        )
        raise InputError.of("RC080", fact, cure="a certificate is of all of them")

    path = target.with_name(FILE)
    failed = [one.id for one in report.records if one.verdict in ("FAIL", "XPASS", "ERROR")]
    waived = [one.id for one in report.records if one.verdict == "WAIVED"]
    sources = {module: _digest(file) for module, file in sorted(_sources(entry).items())}
    given = {
        "suite": report.suite,
        "level": report.level,
        "recurra": recurra.__version__,
        "torch": report.torch,
        "verdicts": report.counts,
        "failed": failed,
        "waived": waived,
        "declared": _declared(entry),
        "sources": sources,
    }
    # The file is that of all components beside each other, which others may certify meanwhile.
    with system.awaited(path.with_name(f".{FILE}.lock"), "writing a certificate", in_turn=True):
        certificates = _read(path) | {_key(entry): given}
        write_json(path, dict(sorted(certificates.items())))
    return path


def standing(entry: Entry) -> Standing:
    """Return what the certificate of a component is worth now; nothing is imported for it."""
    target = module_file(entry, entry.component.target)
    given = _read(target.with_name(FILE)).get(_key(entry)) if target else None
    try:
        return _judged(entry, given) if given and _sound(given) else Standing("unproved")
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        # A file that is not what we wrote.
        return Standing("unproved")


def _sound(given: Any) -> TypeGuard[dict[str, Any]]:
    """Tell whether a file holds of a component what we write of one.

    Looked at by hand: what lists plugins comes without pydantic.
    """
    if not isinstance(given, dict):
        return False
    texts = [given.get("suite"), given.get("level")]
    for name in ("failed", "waived"):
        texts += given[name] if isinstance(given.get(name), list) else [None]
    sources = given.get("sources")
    texts += sources.values() if isinstance(sources, dict) and sources else [None]
    return "declared" in given and all(isinstance(text, str) for text in texts)


def _judged(entry: Entry, given: dict[str, Any]) -> Standing:
    suite, level = given["suite"], given["level"]
    fresh = all(_is_fresh(entry, name, digest) for name, digest in given["sources"].items())
    # A suite that has grown holds laws that the component was never held to.
    outgrown = _numbers(suite) < _numbers(SUITE)
    if not fresh or outgrown or given["declared"] != _declared(entry):
        return Standing("stale", suite, level)

    failed, waived = tuple(given["failed"]), tuple(given["waived"])
    return Standing("failed" if failed else "proved", suite, level, failed, waived)


def _is_fresh(entry: Entry, module: str, digest: str) -> bool:
    file = module_file(entry, module)
    return file is not None and _digest(file) == digest


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _read(path: Path) -> dict[str, Any]:
    try:
        certificates = read_json(path)
    except (OSError, ValueError):
        return {}
    return certificates if isinstance(certificates, dict) else {}


def _key(entry: Entry) -> str:
    return f"{entry.component.kind}/{entry.component.name}"


def _declared(entry: Entry) -> dict[str, Any]:
    """Return what the component promises, and takes out of its contract."""
    component = entry.component
    return {
        "lacks": sorted(component.lacks),
        "claims": sorted(component.claims),
        "waivers": dict(sorted(component.waivers.items())),
    }


def module_file(entry: Entry, target: str) -> Path | None:
    """Return the file of a module, named as in `module:Class`, without importing anything of it."""
    module = target.partition(":")[0]
    first, *rest = module.split(".")
    plugin = entry.plugin
    if plugin.owns(module):
        place = Path(plugin.origin)
        return _file_in(place, rest) if place.is_dir() else place
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None

    # A package has folders, in which its parts are looked for; a module alone is its own file.
    folders = list(spec.submodule_search_locations or ())
    for folder in folders:
        file = _file_in(Path(folder), rest)
        if file is not None:
            return file
    return Path(spec.origin) if spec.origin and not rest and not folders else None


def _file_in(folder: Path, names: list[str]) -> Path | None:
    """Return the file of a module of a package, in its folder; with no `names` the package's."""
    place = folder.joinpath(*names)
    for file in (place / "__init__.py", place.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _sources(entry: Entry) -> dict[str, Path]:
    """Return the modules that a component is made of.

    They are those of its target and options, and what these import out of the same distribution.
    """
    sources: dict[str, Path] = {}
    component = entry.component
    waiting = [name.partition(":")[0] for name in (component.target, component.options)]
    while waiting:
        module = waiting.pop()
        file = module_file(entry, module)
        if file is None and "." in module:
            # A name that is taken out of a module.
            module = module.rpartition(".")[0]
            file = module_file(entry, module)
        if module in sources or file is None:
            continue

        sources[module] = file
        home = module.partition(".")[0]
        waiting += [name for name in _imported(module, file) if name.partition(".")[0] == home]
    return sources


def _imported(module: str, file: Path) -> Iterator[str]:
    """Give what a file imports, by its dotted name: modules, and names taken out of modules."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = [node.module] if node.module else []
            if node.level:
                # One dot is the package itself, and each more the one above.
                folders = package.split(".")
                parts = [*folders[: len(folders) - node.level + 1], *parts]
            yield from (".".join([*parts, alias.name]) for alias in node.names)


def _digest(file: Path) -> str:
    """Return the hash of a file's text without the ends of its lines, which git may change."""
    return hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
