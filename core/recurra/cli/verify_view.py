"""The command `verify`, and how it is printed what was compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurra.cli.common import Json, Override, counted, print_json
from recurra.surroundings import loading

if TYPE_CHECKING:
    from recurra.runs.comparing import Compared
    from recurra.verifying.proof import Verified

DIFFERENCES_SHOWN = 5
"""Differences that are printed: the first of each file, and of so many files."""


def verify(
    task: Annotated[Path, typer.Argument(help="The task file.", metavar="TASK.toml")],
    kills: Annotated[int, typer.Option(min=1, help="How often the run is killed.")] = 5,
    steps: Annotated[
        int, typer.Option(min=1, help="Make no more updates of a longer task than these.")
    ] = 200,
    whole: Annotated[
        bool, typer.Option("--whole", help="Train the task as it is, however long that takes.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Where the moments of the kills come from.")] = 0,
    runs: Annotated[
        Path | None, typer.Option(help="Keep all runs, in a folder in this one.", metavar="DIR")
    ] = None,
    override: Override = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Prove that a task which is killed at any moment, and resumed, leaves the very bytes that it
    leaves unkilled.

    Every byte is compared of weights, optimizer, carried states, streams of random numbers,
    records, samples and figures, but what is a clock. It ends with 1 where any differs.
    """
    with loading():
        from recurra import verbs
        from recurra.cli.display import watcher

    verified = verbs.verify(
        task,
        list(override),
        kills=kills,
        steps=None if whole else steps,
        seed=seed,
        runs=runs,
        observer=watcher(quiet=as_json),
    )
    print_json(verified.as_data()) if as_json else show(verified)
    if not verified.proved:
        raise typer.Exit(1)


def show(verified: Verified) -> None:
    """Print what was compared, and the verdict."""
    from recurra.cli.printing import out

    out(
        f"\n{verified.task}: {counted(verified.updates, 'update')}, killed"
        f" {counted(len(verified.kills), 'time')} in {counted(verified.runs, 'run')},"
        f" in {verified.seconds:.1f} s"
    )
    show_compared(verified.compared)
    out("left out:  seconds, tokens per second, and the names of the folders")
    again = len(verified.kills) - verified.resumed
    out(f"went on:   {counted(verified.resumed, 'time')} from a checkpoint, {again} from the start")
    if verified.proved:
        out("verdict:   equal, bit for bit")
    elif verified.equal:
        out("verdict:   equal, but not proved: no kill fell after a checkpoint; ask for more")
    else:
        _show_faults(verified)
    if verified.folder is not None:
        out(f"kept:      {verified.folder}")


def show_compared(compared: Compared) -> None:
    """Print how much was compared of two runs."""
    from recurra.cli.printing import out

    out(
        f"compared:  {counted(compared.files, 'file')},"
        f" {counted(sum(compared.tensors.values()), 'tensor')}, {compared.bytes:,} bytes"
    )
    for group, count in compared.tensors.items():
        size = compared.tensor_bytes[group]
        out(f"           {group} {counted(count, 'tensor')}, {size:,} bytes")
    out(
        f"           {counted(compared.records, 'record')}, {counted(compared.samples, 'sample')},"
        f" {compared.figures:,} figures and words of the result"
    )


def show_differences(lines: list[str]) -> None:
    """Print where two runs part: the first difference of each file, and of so many files."""
    from recurra.cli.printing import out
    from recurra.cli.visible import visible

    for number, line in enumerate(lines[:DIFFERENCES_SHOWN]):
        out(f"{'' if number else 'differs:':11}{visible(line)}")
    if len(lines) > DIFFERENCES_SHOWN:
        out(f"           and in {counted(len(lines) - DIFFERENCES_SHOWN, 'more file')}")


def _show_faults(verified: Verified) -> None:
    """Print where two runs part, or why one does not go on, and what may be the cause."""
    from recurra.cli.printing import out
    from recurra.cli.visible import visible

    if verified.refused:
        out(f"refused:   a run that was killed does not go on: {visible(verified.refused)}")
    show_differences([str(difference) for difference in verified.compared.differences])
    for number, cause in enumerate(verified.causes):
        out(f"{'' if number else 'cause:':11}{visible(cause)}")
    out("verdict:   NOT equal")
