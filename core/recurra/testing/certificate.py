"""A certificate: what the suite found, kept beside the component's code, and worth nothing once
that code has changed.

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
from recurra.catalog import Entry
from recurra.errors import InputError
from recurra.runs.files import read_json, write_json
from recurra.testing.check import SUITE
from recurra.testing.records import Report

FILE = "contract.json"
State: TypeAlias = Literal["proved", "failed", "stale", "unproved"]


@dataclass(frozen=True)
class Standing:
    """What a certificate says of a component now: which suite it kept, and which checks it failed
    or has waived.

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
    """Write the certificate of a whole report; return its file. Raises `InputError` (RC080),
    `RunError` (RC053).
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
    given = _read(path)
    given[_key(entry)] = {
        "suite": report.suite,
        "level": report.level,
        "recurra": recurra.__version__,
        "torch": report.torch,
        "verdicts": report.counts,
        "failed": [
            record.id for record in report.records if record.verdict in ("FAIL", "XPASS", "ERROR")
        ],
        "waived": [record.id for record in report.records if record.verdict == "WAIVED"],
        "declared": _declared(entry),
        "sources": {module: _digest(file) for module, file in sorted(_sources(entry).items())},
    }
    write_json(path, dict(sorted(given.items())))
    return path


def standing(entry: Entry) -> Standing:
    """Return what the certificate of a component is worth now; nothing is imported for it."""
    target = module_file(entry, entry.component.target)
    given = _read(target.with_name(FILE)).get(_key(entry)) if target else None
    try:
        return _judged(entry, given) if given and _sound(given) else Standing("unproved")
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OSError,
    ):
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
    files = {name: module_file(entry, name) for name in given["sources"]}
    fresh = all(
        file is not None and _digest(file) == given["sources"][name] for name, file in files.items()
    )
    # There are laws that it was never held to.
    outgrown = _numbers(given["suite"]) < _numbers(SUITE)
    if not fresh or outgrown or given["declared"] != _declared(entry):
        return Standing("stale", given["suite"], given["level"])
    failed, waived = tuple(given["failed"]), tuple(given["waived"])
    return Standing(
        "failed" if failed else "proved", given["suite"], given["level"], failed, waived
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _read(path: Path) -> dict[str, Any]:
    try:
        held = read_json(path)
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


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
    if entry.plugin.module and module == Path(entry.plugin.origin).stem:
        return Path(entry.plugin.origin)
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = [Path(place).joinpath(*rest) for place in spec.submodule_search_locations or ()]
    files = [
        file
        for place in places
        for file in (place.with_suffix(".py"), place / "__init__.py")
        if file.is_file()
    ]
    alone = Path(spec.origin) if spec.origin and not rest and not places else None
    return files[0] if files else alone


def _sources(entry: Entry) -> dict[str, Path]:
    """Return the modules that a component is made of: those of target and options, and what they
    import beside them.
    """
    found: dict[str, Path] = {}
    waiting = [name.partition(":")[0] for name in (entry.component.target, entry.component.options)]
    while waiting:
        module = waiting.pop()
        file = module_file(entry, module)
        if file is None and "." in module:  # a name that is taken out of a module
            module = module.rpartition(".")[0]
            file = module_file(entry, module)
        if module in found or file is None:
            continue
        found[module] = file
        home = module.partition(".")[0]
        waiting += [name for name in _imported(module, file) if name.partition(".")[0] == home]
    return found


def _imported(module: str, file: Path) -> Iterator[str]:
    """Give what a file imports, by its dotted name: modules, and names taken out of modules."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            whole = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{whole}.{alias.name}" for alias in node.names)


def _digest(file: Path) -> str:
    """Return the hash of a file's text; the end of its lines, which git may change, does not
    count.
    """
    return hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
