"""The commands. Each imports what it needs when it is called, so that help and lists answer at once."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from recurra.errors import InputError, Interrupted, Problem, RecurraError, RecurraWarning, RunError

app = typer.Typer(
    name="recurra",
    help="Recurrent sequence models: one TOML file is one task, and every cell is a plugin.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
plugins_app = typer.Typer(help="What is installed, and what it can do.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(plugins_app, name="plugins")

TaskFile = Annotated[Path, typer.Argument(help="The task file.", metavar="TASK.toml")]
RunPath = Annotated[Path, typer.Argument(help="A run's folder, or a task's for its newest run.", metavar="RUN")]
Override = Annotated[
    list[str],
    typer.Option("-o", "--override", help="Change a key: -o cell.hidden_size=64", metavar="KEY=VALUE"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")]
_Misuse: type[Any] = typer.BadParameter.__bases__[0]  # click's UsageError, to which typer gives no name of its own
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Where all random numbers come from.")]


def _version(wanted: bool) -> None:
    if wanted:
        import recurra

        print(f"recurra {recurra.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    task: TaskFile,
    override: Override = [],  # noqa: B006
    runs: Annotated[Path, typer.Option(help="Where the folders of runs are made.")] = Path("runs"),
    seed: Seed = None,
    expect: Annotated[bool, typer.Option("--expect", help="Fail if a band of [expect] does not hold.")] = False,
    as_json: Json = False,
) -> None:
    """Check, train, evaluate and generate one task."""
    from recurra import verbs
    from recurra.cli import show
    from recurra.cli.display import watcher

    overrides = [*override, *([f"seed={seed}"] if seed is not None else [])]
    done = verbs.run(task, overrides, runs=runs, observer=watcher(quiet=as_json))
    _finish_run(done, show.result, expect, as_json)


@app.command()
def resume(
    run: RunPath,
    changed_plugins: Annotated[
        bool, typer.Option("--changed-plugins", help="Take local plugin files that were edited as they are now.")
    ] = False,
    expect: bool = False,
    as_json: Json = False,
) -> None:
    """Go on with a run from its last whole checkpoint, bit for bit."""
    from recurra import verbs
    from recurra.cli import show
    from recurra.cli.display import watcher

    done = verbs.resume(run, observer=watcher(quiet=as_json), changed_plugins=changed_plugins)
    _finish_run(done, show.result, expect, as_json)


def _finish_run(done: Any, show: Callable[[dict[str, Any]], None], expect: bool, as_json: bool) -> None:
    _print_json(done.result) if as_json else show(done.result)
    broken = done.result["broken_bands"]
    if expect and broken:
        raise RunError(Problem("RC062", b["fact"], b["key"], got=b["got"], allowed=b["allowed"]) for b in broken)


@app.command()
def check(task: TaskFile, override: Override = [], as_json: Json = False) -> None:  # noqa: B006
    """Say everything about a task that can be known without training it."""
    from recurra import verbs
    from recurra.cli import show

    report = verbs.check(task, override)
    _print_json(report) if as_json else show.report(report)


@app.command()
def generate(
    run: RunPath,
    prompt: Annotated[str | None, typer.Option(help="The text to go on from.")] = None,
    values: Annotated[
        str | None, typer.Option(help="The numbers to go on from: 1,2,3; several features: 1,2;3,4")
    ] = None,
    position: Annotated[
        int | None, typer.Option(min=0, help="Where in its sequence the prompt begins, for an encoder with a clock.")
    ] = None,
    length: Annotated[int | None, typer.Option(min=0, help="How many elements to generate.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy; 1 samples as the network says.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample among the k likeliest; 0 is all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample among the likeliest that hold this share.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Leave out what is far less likely than the best.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1: less of what has come.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="A text that ends the generation.")] = None,
    seed: Seed = None,
    streams: Annotated[int, typer.Option(min=1, help="How many sequences to draw side by side.")] = 1,
    as_json: Json = False,
) -> None:
    """Generate text from a run, or forecast numbers in the data's own units."""
    from recurra import verbs
    from recurra.cli import show

    if prompt is not None and values is not None:
        raise InputError.of("RC080", "give --prompt for text or --values for numbers, not both")
    opened = verbs.load(run)
    numeric = opened.vocabulary.yields == "numbers"
    if numeric and streams > 1:
        raise InputError.of("RC080", "--streams is for symbols: a forecast is the same every time")
    given: Any = prompt if values is None else _numbers(values)
    sampling = {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "stop": stop or None,
    }  # fmt: skip
    steps = opened.generate(given, length, seed=seed, streams=streams, position=position, **sampling)
    shown = opened.prompt() if prompt is None else prompt
    if as_json:
        _print_json({"prompt": given if numeric else shown, "generated": show.gathered(steps, numeric, streams)})
    else:
        show.generation(steps, shown, numeric, streams)


def _numbers(text: str) -> list[Any]:
    try:
        rows = [[float(part) for part in row.split(",")] for row in text.split(";")]
    except ValueError as error:
        raise InputError.of("RC080", f"--values: {error}", cure="write numbers with commas between: 1,2,3") from error
    return rows[0] if len(rows) == 1 else rows


@app.command()
def evaluate(
    run: RunPath,
    split: Annotated[str | None, typer.Option(help="train, validation or test.")] = None,
    as_json: Json = False,
) -> None:
    """Print the figures of a run, with the baselines beside them."""
    from recurra import verbs
    from recurra.cli import show

    found = verbs.load(run).evaluate(split)  # type: ignore[arg-type]
    _print_json(found) if as_json else show.figures(found)


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
            _print_json({"tasks": tasks})
        else:
            for task, summary in tasks.items():
                print(f"{task:16} {summary}")
        if name is None and not listed:
            raise InputError.of("RC080", "name one of these tasks", cure="recurra new hello_lstm")
        return
    written = [str(path) for path in shipped.copy(name, Path())]
    if as_json:
        _print_json({"written": written})
    else:
        print(f"wrote {' and '.join(written)}\nrun it with: recurra run {written[0]}")


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to a file.")] = None,
) -> None:
    """Print the JSON Schema of task files, with the options of every installed component, for an editor."""
    from recurra.catalog import discover
    from recurra.resolve import json_schema
    from recurra.runs.files import write_text

    escaped = output is None and not _speaks_unicode()
    text = json.dumps(json_schema(discover()), indent=2, ensure_ascii=escaped) + "\n"
    if output is None:
        print(text, end="")
        return
    write_text(output, text)
    print(f"wrote {output}; put this line first in a task file:\n#:schema {output}")


@app.command()
def bench(
    rows: Annotated[str | None, typer.Option(help="Only these rows of the table: 1,4,7", metavar="N,N")] = None,
    shapes: Annotated[str | None, typer.Option(help="Of a layer's rows only these: D,S,M,L", metavar="S,S")] = None,
    pairs: Annotated[int, typer.Option(min=1, max=1000, help="Measurements of each, in turn.")] = 7,
    threads: Annotated[int | None, typer.Option(min=1, max=4096, help="Of torch; by default its own choice.")] = None,
    as_json: Json = False,
) -> None:
    """Measure how fast recurra is here, beside torch's own modules and loops by hand; takes some minutes."""
    from recurra.cli import bench_view

    found = bench_view.bench(rows, shapes, pairs, threads, quiet=as_json)
    if as_json:
        _print_json(found)
    if found["failed"]:
        raise typer.Exit(1)


@plugins_app.command("list")
def plugins_list(as_json: Json = False) -> None:
    """List every plugin and component, also those that did not load, and why."""
    from recurra.catalog import discover
    from recurra.cli import catalog_view

    catalog = discover()
    _print_json(catalog_view.as_data(catalog)) if as_json else catalog_view.listing(catalog)


@plugins_app.command("show")
def plugins_show(
    name: Annotated[str, typer.Argument(help="A component, short or qualified.")], as_json: Json = False
) -> None:
    """Show a component's options, and a table that is ready to be pasted into a task file."""
    from recurra.catalog import discover
    from recurra.cli import catalog_view

    catalog = discover()
    entries = catalog_view.find(catalog, name)
    if as_json:
        _print_json({"components": [catalog_view.component_data(catalog, entry) for entry in entries]})
    else:
        for entry in entries:
            catalog_view.component(catalog, entry)


@plugins_app.command("new")
def plugins_new(
    name: Annotated[str, typer.Argument(help="What a task file will call the component: my_cell.")],
    kind: Annotated[str, typer.Option(help="cell, encoder, source, loss or vocabulary.")],
    form: Annotated[str | None, typer.Option(help="Of a cell: cell, gated (the default) or scan.")] = None,
    as_json: Json = False,
) -> None:
    """Write a distribution with one component, which works and passes its tests, as a start."""
    from recurra.cli import plugin_view
    from recurra.scaffold.project import create

    folder, *written = create(name, kind, form, Path())
    if as_json:
        _print_json({"folder": str(folder), "written": [str(path) for path in written]})
    else:
        plugin_view.written(name, folder, written)


@plugins_app.command("doctor")
def plugins_doctor(as_json: Json = False) -> None:
    """Find what is wrong with any plugin, and say how to mend it; fails if anything is."""
    from recurra.cli import plugin_view
    from recurra.doctor import examine

    report = examine()
    _print_json(report.record()) if as_json else plugin_view.report(report)
    if report.faults:
        raise typer.Exit(1)


@plugins_app.command("check")
def plugins_check(
    name: Annotated[str, typer.Argument(help="A component, short or qualified.")],
    kind: Annotated[str | None, typer.Option(help="Which one, where several kinds have this name.")] = None,
    level: Annotated[str, typer.Option(help="core: quick; full: compiling, exporting and learning too.")] = "core",
    file: Annotated[list[Path], typer.Option("--file", help="A local plugin file.")] = [],  # noqa: B006
    only: Annotated[list[str], typer.Option("-k", metavar="ID", help="Only these checks: -k C02,C07")] = [],  # noqa: B006
    certify: Annotated[bool, typer.Option("--certify", help="Write contract.json beside the component.")] = False,
    as_json: Json = False,
) -> None:
    """Hold a component to the contract of its kind: each check, what was measured, and the bound."""
    from recurra.cli import contract_view

    ids = [part for given in only for part in given.split(",")] or None
    reports = contract_view.check(name, kind, level, file, ids, certify=certify, quiet=as_json)
    ok = all(report.ok for report in reports)
    if as_json:
        _print_json({"ok": ok, "reports": [report.data() for report in reports]})
    if not ok:
        raise typer.Exit(1)


@plugins_app.command("explain")
def plugins_explain(
    code: Annotated[str, typer.Argument(help="A code of an error, such as RC011, or a check, such as C07.")],
) -> None:
    """Explain an error, or a check of the contract suite: the law, why it matters, how to mend."""
    from recurra.errors import CODES

    if code.upper() in CODES:
        print(f"{code.upper()}: {CODES[code.upper()]}")
        return
    from recurra.cli import contract_view

    contract_view.explain(code.upper())


def _print_json(value: Any) -> None:
    from recurra.runs.files import finite

    sys.stdout.write(json.dumps(finite(value), ensure_ascii=not _speaks_unicode(), allow_nan=False) + "\n")


def _speaks_unicode() -> bool:
    return "utf" in (sys.stdout.encoding or "").lower()


def main() -> None:
    """Run the command line: errors go to stderr, and the exit code says whose they are."""
    as_json = "--json" in sys.argv
    if isinstance(sys.stdout, io.TextIOWrapper):  # a character that the terminal lacks must not end a run
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _warnings_in_a_line():
            sys.exit(app(standalone_mode=False))
    except RecurraError as error:
        sys.exit(_report(error, as_json))
    except _Misuse as error:
        sys.exit(_misused(error, as_json))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(Interrupted.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Print recurra's own warnings as one line on stderr, each time; any other as Python does."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RecurraWarning)
        show = warnings.showwarning

        def shown(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, RecurraWarning):
                print(f"warning: {message}", file=sys.stderr)
            else:
                show(message, category, *place, **more)

        warnings.showwarning = shown
        yield


def _report(error: RecurraError, as_json: bool) -> int:
    sys.stdout.flush()
    print("\n".join(f"error: {problem.render()}\n" for problem in error.problems).rstrip(), file=sys.stderr)
    if as_json:
        _print_json({"error": [problem.record() for problem in error.problems], "exit_code": error.exit_code})
    return error.exit_code


def _misused(error: Any, as_json: bool) -> int:
    """Report a command that cannot be read: an unknown option, a missing argument."""
    error.show()
    if as_json:
        problem = Problem("RC080", error.format_message())
        _print_json({"error": [problem.record()], "exit_code": error.exit_code})
    return int(error.exit_code)


if __name__ == "__main__":
    main()
