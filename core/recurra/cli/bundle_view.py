"""The commands `bundle` and `inspect`, and how what they find is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recurra.cli.common import Json, RunPath, counted, print_json
from recurra.cli.visible import visible
from recurra.surroundings import loading

if TYPE_CHECKING:
    from recurra.runs.inspection import Inspected, Tensor

TENSORS_SHOWN = 100
"""Tensors that are printed, at most; `--json` has all."""


def bundle(
    run: RunPath,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file to write; TASK-N.zip by default."),
    ] = None,
    with_data: Annotated[
        bool, typer.Option("--with-data", help="Put the files of the data in as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a run into one file, from which `recurra reproduce` trains it again."""
    with loading():
        from recurra import verbs
        from recurra.runs import bundles

    path = verbs.bundle(run, output, with_data=with_data)
    with bundles.opened(path) as (held, made):
        names = [*held.entries]
        missing = [
            file.name for place in made.places if place.entry is None for file in place.files
        ]
    size = path.stat().st_size
    if as_json:
        told = {"bundle": str(path), "bytes": size, "files": names, "data_left_out": missing}
        print_json(told)
        return
    print(f"wrote {path}: {counted(len(names), 'file')}, {size:,} bytes")
    if missing:
        print(f"without the data ({', '.join(missing[:5])}); --with-data puts it in")
    if made.given:
        print("without the data: a program has given it, and is to give it again")
    print(f"train it again: recurra reproduce {path}")


def inspect(
    path: Annotated[
        Path,
        typer.Argument(help="A run, a checkpoint, a bundle or a saved session.", metavar="PATH"),
    ],
    as_json: Json = False,
) -> None:
    """Say what a run, a checkpoint, a bundle or a saved session holds, and run none of it."""
    from recurra.runs.inspection import inspect as inspected

    found = inspected(path)
    print_json(found.as_data()) if as_json else _show(found)
    if found.faults:
        raise typer.Exit(1)


def _show(found: Inspected) -> None:
    """Print what was found: what a stranger has written, with no command to the terminal in it."""

    def out(text: str) -> None:
        print(visible(text).replace("\n", r"\n"))

    out(f"{found.path}: {_called(found.kind)}{f' of task {found.task}' if found.task else ''}")
    for which, step in found.steps.items():
        out(f"  {which} checkpoint: step {step}")
    for key, value in found.about.items():
        out(f"  {key}: {_worded(value)}")
    if found.environment:
        keys = ["recurra", "python", "torch", "numpy", "platform", "device", "threads", "paths"]
        keys += ["processes", "processes_since"]
        told = [
            f"{key} {_worded(found.environment[key])}" for key in keys if key in found.environment
        ]
        out(f"  made with: {', '.join(told)}")

    if found.needs:
        out("plugins that it needs (none of them was imported)")
    for need in found.needs:
        local = need.distribution.startswith("file:")
        here = (
            "a file of its author's" if local else f"here {need.here}" if need.here else "not here"
        )
        out(f"  {need.distribution} {need.version} ({here}): {', '.join(need.components)}")
    if found.files:
        out("files")
    for file in found.files:
        out(f"  {file.size:>14,}  {file.hash:<8}  {file.name}")
    if found.tensors:
        total = sum(tensor.bytes for tensor in found.tensors)
        out(f"{counted(len(found.tensors), 'tensor')}, {total:,} bytes")
    # The weights are what most look for.
    tensors = sorted(found.tensors, key=lambda tensor: "weights" not in tensor.file)
    for tensor in tensors[:TENSORS_SHOWN]:
        out(f"  {tensor.bytes:>14,}  {tensor.type:<8}  {_shape(tensor)}")
    if len(found.tensors) > TENSORS_SHOWN:
        out(f"  and {len(found.tensors) - TENSORS_SHOWN:,} more: --json has all")
    for fault in found.faults:
        out(f"fault: {fault}")
    if not found.faults:
        hashed = any(file.hash == "good" for file in found.files)
        out("every hash that is recorded is good" if hashed else "no hash of it is recorded")


def _called(kind: str) -> str:
    """Return a kind in words."""
    words = {
        "session": "a saved session",
        "tensors": "a file of tensors, and nothing that recurra has saved",
    }
    return words.get(kind, f"a {kind}")


def _shape(tensor: Tensor) -> str:
    from recurra.runs.bundles import ORIGIN

    file = tensor.file.rpartition("/")[2].removesuffix(".safetensors")
    place = tensor.file.rpartition("/")[0].rpartition("/")[2]
    if tensor.file.startswith(f"{ORIGIN}/"):
        place = f"{ORIGIN} {place}"
    return f"{[*tensor.shape]} {f'{place} ' if place else ''}{file} {tensor.name}"


def _worded(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{key}:{each}" for key, each in value.items())
    return f"{value:,}" if type(value) is int else str(value)
