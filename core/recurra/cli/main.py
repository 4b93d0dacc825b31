"""The commands.

Each imports what it needs when it is called, so that help and lists answer at once.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recurra.cli import (
    answers,
    backtest_view,
    bundle_view,
    cache_view,
    compare_view,
    report_view,
    reproduce_view,
    runs_view,
    sweep_view,
    verify_view,
)
from recurra.cli.common import (
    Commands,
    Json,
    LevelsAsked,
    Override,
    RunPath,
    Seed,
    Track,
    Trust,
    print_json,
    speaks_unicode,
    tracked,
)
from recurra.cli.ending import (
    Stopped,
    at_once,
    leaving,
    misused,
    report,
    unless_ending,
    warnings_in_a_line,
)
from recurra.cli.plugin_commands import plugins_app
from recurra.cli.streams import GONE, Guarded, OutputLost, ReaderGone, guarded
from recurra.errors import (
    InputError,
    PluginError,
    Problem,
    RecurraError,
    RunError,
    exit_code_of,
)
from recurra.surroundings import loading, odd_variables
from recurra.train.interrupt import handled
from recurra.world import joined, launched, leads

if TYPE_CHECKING:
    from recurra.job.run import Run

OF_STREAMS = (errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO)
"""How the system names the fault of a stream that it cannot write."""
AUTOLOAD = "TORCH_DEVICE_BACKEND_AUTOLOAD"
"""The variable that keeps torch from importing its extensions."""
_Misuse: type[Any] = typer.BadParameter.__bases__[0]
"""Click's UsageError, to which typer gives no name of its own."""

TOGETHER = ("run", "resume", "evaluate", "predict", "backtest")
"""The commands that several processes do together, as torchrun starts them."""

app = typer.Typer(
    name="recurra",
    cls=Commands,
    help="Recurrent sequence models: one TOML file is one task, and every cell is a plugin.",
    epilog=(
        "Exit codes: 0 done; 1 the run failed; 2 the input is wrong; 3 a plugin is at fault;"
        " 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP, each after saving; 141 the reader has left."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(plugins_app, name="plugins")

TaskFile = Annotated[Path, typer.Argument(help="The task file.", metavar="TASK.toml")]


def _version(flag: bool) -> None:
    if flag:
        import recurra

        print(f"recurra {recurra.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if launched() > 1 and context.invoked_subcommand not in TOGETHER:
        fact = f"{context.invoked_subcommand} is no work for {launched()} processes"
        *names, last = TOGETHER
        able = f"{', '.join(names)} and {last}"
        cure = f"call it without torchrun, which {able} may be started with"
        with joined():
            raise InputError.of("RC080", fact, cure=cure)


@app.command()
def run(
    task: TaskFile,
    override: Override = [],  # noqa: B006
    runs: Annotated[Path, typer.Option(help="Where the folders of runs are made.")] = Path("runs"),
    seed: Seed = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Start from the weights and vocabulary of a run.", metavar="RUN"
        ),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="Of that run: its best weights, or its last.", metavar="best|last")
    ] = "best",
    add_symbols: Annotated[
        bool, typer.Option("--add-symbols", help="Give symbols and labels new to it rows.")
    ] = False,
    refit_scale: Annotated[
        bool, typer.Option("--refit-scale", help="Scale numbers by this data, not as it did.")
    ] = False,
    trust: Trust = False,
    levels: LevelsAsked = None,
    paths_of: Annotated[
        Path | None,
        typer.Option(
            "--paths-of", help="Take the execution paths of a run, bit for bit.", metavar="RUN"
        ),
    ] = None,
    track: Track = None,
    expect: Annotated[
        bool, typer.Option("--expect", help="Fail if a band of [expect] does not hold.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check, train, evaluate and generate one task."""
    with loading():
        from recurra import verbs
        from recurra.cli.display import watcher
        from recurra.spec.overrides import Said

    overrides = list(override)
    if seed is not None:
        overrides.append(Said(f"seed={seed}", f"--seed {seed}"))

    observer = watcher(quiet=as_json)
    done = verbs.run(
        task,
        overrides,
        start=start,
        checkpoint=checkpoint,
        add_symbols=add_symbols,
        refit_scale=refit_scale,
        trust=trust,
        runs=runs,
        levels=levels,
        paths_of=paths_of,
        track=tracked(track),
        observer=observer,
        expect=expect,
    )
    _finish_run(done, expect, as_json)


@app.command()
def resume(
    run: RunPath,
    override: Override = [],  # noqa: B006
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            "--changed-plugins",
            help="Run local plugin files that were edited since as they are now; it is recorded.",
        ),
    ] = False,
    checkpoint: Annotated[
        int | None,
        typer.Option(
            min=0, help="Go on from the checkpoint of this step, not the last.", metavar="STEP"
        ),
    ] = None,
    track: Track = None,
    expect: bool = False,
    as_json: Json = False,
) -> None:
    """Go on with a run from its last whole checkpoint, bit for bit; with -o for more steps, or at
    another rate.
    """
    with loading():
        from recurra import verbs
        from recurra.cli.display import watcher

    observer = watcher(quiet=as_json)
    done = verbs.resume(
        run,
        list(override),
        observer=observer,
        trust=trust,
        checkpoint=checkpoint,
        track=tracked(track),
        expect=expect,
    )
    _finish_run(done, expect, as_json)


def _finish_run(done: Run, expect: bool, as_json: bool) -> None:
    """Print what came of a run. Raises `RunError` (RC062) if bands broke and `expect` asks."""
    from recurra.cli import show

    result: Any = done.result
    notes = done.resolved.notes
    if as_json:
        print_json(result | ({"task_notes": notes} if notes else {}))
    else:
        show.result(result, notes, done.steps_before)

    broken = result["broken_bands"]
    if expect and broken:
        raise RunError(
            Problem("RC062", band["fact"], band["key"], got=band["got"], allowed=band["allowed"])
            for band in broken
        )


@app.command()
def check(task: TaskFile, override: Override = [], as_json: Json = False) -> None:  # noqa: B006
    """Say everything about a task that can be known without training it."""
    with loading():
        from recurra import verbs
        from recurra.cli import show

    report = verbs.report(task, override)
    print_json(report.as_data()) if as_json else show.report(report)


app.command()(answers.generate)
app.command()(answers.predict)


@app.command()
def evaluate(
    run: RunPath,
    override: Annotated[
        list[str],
        typer.Option(
            "-o",
            "--override",
            help="Measure other data: -o source.path=other.csv",
            metavar="KEY=VALUE",
        ),
    ] = [],  # noqa: B006
    split: Annotated[
        str | None,
        typer.Option(help="train, validation, test, or all; of other data all is the default."),
    ] = None,
    levels: LevelsAsked = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Print the figures of a run, with the baselines beside them; with -o those of other data."""
    with loading():
        from recurra import verbs
        from recurra.cli import show
        from recurra.world import joined

    with joined() as here:
        opened = verbs.load(run, trust=trust)
        metrics = opened.evaluate(split, list(override), levels=levels)  # type: ignore[arg-type]
    if here.first:
        print_json(metrics) if as_json else show.figures(metrics)


app.command()(backtest_view.backtest)
app.command()(compare_view.compare)
app.command()(sweep_view.sweep)
app.command()(cache_view.cache)
app.command()(bundle_view.bundle)
app.command()(reproduce_view.reproduce)
app.command()(bundle_view.inspect)
app.command()(report_view.report)
app.command()(report_view.plot)
app.command()(runs_view.runs)
app.command()(runs_view.diff)
app.command()(verify_view.verify)


@app.command()
def new(
    name: Annotated[str | None, typer.Argument(help="A shipped task.", metavar="NAME")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show the shipped tasks.")] = False,
    as_json: Json = False,
) -> None:
    """Copy a shipped task into this folder, as a start."""
    from recurra.spec import shipped

    if listed or name is None:
        tasks = shipped.tasks()
        if as_json:
            print_json({"tasks": tasks})
        else:
            for task, summary in tasks.items():
                print(f"{task:16} {summary}")

        # Without a name and without --list the tasks are an answer, and yet nothing was copied.
        if name is None and not listed:
            raise InputError.of("RC080", "name one of these tasks", cure="recurra new hello_lstm")
        return

    written = [str(path) for path in shipped.copy(name, Path())]
    if as_json:
        print_json({"written": written})
    else:
        print(f"wrote {' and '.join(written)}")
        print(f"run it with: recurra run {written[0]}")


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to a file.")] = None,
) -> None:
    """Print the JSON Schema of task files, with the options of every installed component, for an
    editor.
    """
    from recurra.catalog import discover
    from recurra.runs.files import streamed
    from recurra.schema import json_schema

    schema = json_schema(discover())
    escaped = output is None and not speaks_unicode()
    text = json.dumps(schema, indent=2, ensure_ascii=escaped) + "\n"
    if output is None:
        print(text, end="")
        return

    with streamed(output) as file:
        file.write(text)
    print(f"wrote {output}; put this line first in a task file:\n#:schema {output}")


@app.command()
def bench(
    rows: Annotated[
        str | None, typer.Option(help="Only these rows of the table: 1,4,7", metavar="N,N")
    ] = None,
    shapes: Annotated[
        str | None, typer.Option(help="Of a layer's rows only these: D,S,M,L", metavar="S,S")
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, max=1000, help="Measurements of each, in turn.")] = 7,
    threads: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Of torch; by default its own choice.")
    ] = None,
    jax: Annotated[
        str | None,
        typer.Option(
            envvar="RECURRA_JAX",
            metavar="PYTHON",
            help="Beside JAX too: the Python, or environment, that has it.",
        ),
    ] = None,
    onnxruntime: Annotated[
        str | None,
        typer.Option(
            envvar="RECURRA_ONNXRUNTIME",
            metavar="PYTHON",
            help="Beside ONNX Runtime too: likewise, with onnx.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how fast recurra is here, beside torch's own modules and loops by hand; takes some
    minutes.
    """
    from recurra.cli import bench_view

    named = {"jax": jax, "onnxruntime": onnxruntime}
    report, request = bench_view.bench(rows, shapes, pairs, threads, as_json, named)
    if as_json:
        print_json(report)
    if request is not None:
        raise request
    if report["failed"]:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line: errors go to stderr, and the exit code says whose they are."""
    with guarded():
        try:
            with handled(at_once):
                if not leads():
                    # Of several processes the first prints.
                    sys.stdout = io.StringIO()
                code = _ended("--json" in sys.argv)
        finally:
            leaving()
        sys.exit(code)


def _ended(as_json: bool) -> int:
    """Return the exit code of the command that was called, once all that it prints is written."""
    try:
        code = _called(as_json)
        sys.stdout.flush()
        if code == 0 and isinstance(sys.stdout, Guarded):
            # A run goes on without its output, and says so in the end.
            sys.stdout.check()
        return code
    except ReaderGone:
        return GONE
    except OutputLost as error:
        return report(error, as_json=False)
    except OSError as error:
        if error.filename is not None or error.errno not in OF_STREAMS:
            raise
        if error.errno == errno.EPIPE:
            return GONE
        return report(OutputLost.because(error), as_json=False)


def _called(as_json: bool) -> int:
    """Call the command, and report what is wrong with it."""
    needs_folder = not {"--help", "--version"} & set(sys.argv)
    if needs_folder and not _here_is_a_folder():
        fact = "the folder in which this was called does not exist any more"
        return report(InputError.of("RC001", fact, cure="cd to one that does"), as_json)

    try:
        with warnings_in_a_line(), handled(unless_ending):
            for oddity in odd_variables():
                print(f"warning: {oddity}", file=sys.stderr)
            return int(app(standalone_mode=False) or 0)
    except OutputLost:
        raise
    except RecurraError as error:
        return report(error, as_json)
    except _Misuse as error:
        return misused(error, as_json)
    except (Stopped, KeyboardInterrupt) as request:
        print("interrupted", file=sys.stderr)
        return exit_code_of(request)
    except RuntimeError as error:
        # Importing torch loads its extensions; where one fails, torch's message names the variable.
        if AUTOLOAD not in str(error):
            raise
        reason, _, _ = str(error).partition(". ")
        fact = f"torch cannot be imported: {reason}: {error.__cause__}"
        cure = f"mend or uninstall that extension, or set {AUTOLOAD}=0"
        return report(PluginError.of("RC070", fact, cure=cure), as_json)


def _here_is_a_folder() -> bool:
    try:
        return bool(os.getcwd())
    except OSError:
        return False


if __name__ == "__main__":
    main()
