"""The command `reproduce`, and how it says whether a run came out as it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurra.cli.common import Json, print_json
from recurra.cli.verify_view import show_compared, show_differences
from recurra.surroundings import loading

if TYPE_CHECKING:
    from recurra.job.reproducing import Reproduction


def reproduce(
    bundle: Annotated[
        Path, typer.Argument(help="A file that `recurra bundle` wrote.", metavar="BUNDLE")
    ],
    override: Annotated[
        list[str],
        typer.Option(
            "-o",
            "--override",
            help="Say where the data lies now: -o source.path=other.csv",
            metavar="KEY=VALUE",
        ),
    ] = [],  # noqa: B006
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the local plugin files that the bundle brings.")
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="By what share a figure may differ where bits are not promised."
        ),
    ] = 0.01,
    runs: Annotated[Path, typer.Option(help="Where the folders of runs are made.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Train the run of a bundle again, and say whether it is what it was: bit for bit where all is
    the same that bits depend on, else by its figures.
    """
    with loading():
        from recurra import verbs
        from recurra.cli.display import watcher

    found = verbs.reproduce(
        bundle,
        list(override),
        trust=trust,
        tolerance=tolerance,
        runs=runs,
        observer=watcher(quiet=as_json),
    )
    print_json(found.as_data()) if as_json else _show(found)
    if not found.passed:
        raise typer.Exit(1)


def _show(found: Reproduction) -> None:
    """Print what came of it."""
    from recurra.cli.printing import out

    out(f"\n{found.bundle}: trained again in {found.run}")
    if found.level == "bits":
        out("level:     bits: nothing differs on which they depend")
    else:
        out(f"level:     figures, within {found.tolerance:.3g} of them: bits depend on")
        for reason in found.reasons:
            out(f"           {reason}")
    show_compared(found.compared)
    parted = found.compared.differences
    show_differences([each.told("in the bundle", "here") for each in parted])
    for figure in found.figures:
        verdict = "within" if figure.within else "beyond"
        out(f"{verdict + ':':11}{figure.name} {figure.recorded:.6g}, here {figure.here:.6g}")
    out(f"promise:   {found.promise}")

    if found.passed:
        how = "every bit is the same" if found.same_bits else "the figures are within the tolerance"
    elif found.level == "bits":
        how = "bits differ where they should not"
    else:
        how = "a figure is beyond the tolerance"
    out(f"{'pass' if found.passed else 'FAIL'}:      {how}")
