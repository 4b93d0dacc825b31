"""Task files at random, and what stands on a command line.

Each key has each value; lines and characters are damaged at random.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
import json
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import tomli_w

import recurra
from fuzz import values
from fuzz.cases import Case
from fuzz.guard import Outcome
from recurra import resolve as resolving
from recurra.catalog import Catalog, Entry, discover
from recurra.cli.main import main
from recurra.resolve import resolve
from recurra.resolved import Resolved
from recurra.spec import shipped

SMALL = {"device": {"path": "eager", "threads": 1, "kind": "cpu"}}
"""What a task is made cheap by: no kernel is compiled for it."""
LARGE = 256
"""Sizes above which a task is checked and not run."""


@functools.cache
def installed() -> Catalog:
    """Return the catalog of what is installed, once for all cases.

    Finding it takes longer than resolving a task with it.
    """
    return discover()


def quickly(files: list[Path]) -> Catalog:
    """Return a catalog as `discover` does."""
    return discover(files) if files else installed()


@functools.cache
def texts() -> dict[str, str]:
    """Return the shipped tasks, made cheap, and beside them a task for each other component."""
    tasks = {}
    for name in shipped.tasks():
        text = (shipped.folder() / f"{name}.toml").read_text(encoding="utf-8")
        tasks[name] = f'{text}\n[device]\nkind = "cpu"\npath = "eager"\nthreads = 1\n'

    for entry in installed().entries:
        tasks[entry.qualified] = tomli_w.dumps(_with(entry, tomllib.loads(tasks[_fitting(entry)])))
    return tasks


def _fitting(entry: Entry) -> str:
    numbers = entry.takes("numbers") or entry.component.name in ("numeric", "csv")
    return "airline" if numbers else "hello_prefixes"


def _with(entry: Entry, tables: dict[str, Any]) -> dict[str, Any]:
    """Return a task's tables with another component in them."""
    examples = entry.component.examples
    table = dict(examples[0]) if examples else {}
    if "path" in table:
        package = sys.modules[entry.component.target.split(":")[0].split(".")[0]]
        table["path"] = str(Path(str(package.__file__)).parent / table["path"])
    return tables | {entry.component.kind: {"kind": entry.qualified, **table}}


@functools.cache
def tables(name: str) -> dict[str, Any]:
    """Return a task as it is resolved, every default in it.

    Where it is not sound, it is as it stands in its file.
    """
    plain = tomllib.loads(texts()[name])
    folder = shipped.folder()
    try:
        with mock.patch.object(resolving, "discover", quickly):
            path = folder / f"{name}.toml"
            changes = {"device": plain["device"]}
            if not path.exists():
                path, changes = folder / "hello_prefixes.toml", plain
            return resolve(path, changes).tables()
    except recurra.RecurraError:
        return plain


def write(case: Case, text: str | bytes, before: str = "") -> Path:
    """Write the task of a case, with the data that shipped tasks name.

    What differs from `before` is the case's input.
    """
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    rows = raw.decode("utf-8", "backslashreplace").split("\n")
    case.input = "\n".join(
        ascii(row)[1:-1] for row in difflib.unified_diff(before.split("\n"), rows, n=0, lineterm="")
    )

    path = case.folder / "task.toml"
    path.write_bytes(raw)
    for data in shipped.folder().iterdir():
        if data.name == "airline.csv" or (data.suffix != ".toml" and data.name.encode() in raw):
            shutil.copy(data, case.folder)
    return path


def through(case: Case, path: Path, overrides: Any = ()) -> Outcome:
    """Resolve a task; where that is done, check it or, if it is cheap, run it for a step."""
    with mock.patch.object(resolving, "discover", quickly):
        outcome = case.attempt(lambda: resolve(path, overrides))
        if not outcome.done:
            return outcome

        resolved: Resolved = outcome.value
        if heavy(resolved):
            return outcome
        if not cheap(resolved):
            return case.attempt(lambda: recurra.check(path, overrides))
        return case.attempt(lambda: recurra.run(path, overrides, runs=case.folder / "runs"))


def heavy(resolved: Resolved) -> bool:
    """Tell whether even a check would rightly take long.

    Its network is large, but not so large that nothing can hold it.
    """
    numbers = [value for part in resolved.used for value in part.options.model_dump().values()]
    sizes = [value for value in numbers if isinstance(value, int | float)]
    layers = sum(part.options.num_layers for part in resolved.cells)
    return layers > 8 or any(4 * LARGE < size < 1 << 17 for size in sizes)


def cheap(resolved: Resolved) -> bool:
    """Tell whether a run takes an instant: few steps of a small network over a small corpus."""
    task = resolved.task
    numbers = [value for part in resolved.used for value in part.options.model_dump().values()]
    sizes = [value for value in numbers if isinstance(value, int | float)]

    sizes += [
        task.training.batch_size,
        task.sequence.length,
        task.generation.length,
        task.training.accumulate,
    ]

    steps = task.training.steps or (task.training.epochs or 10) * 10
    layers = sum(part.options.num_layers for part in resolved.cells)
    docs = resolved.parts["source"].entry.component.name == "python_docs"
    eager = task.device.path == "eager"
    return (
        max(sizes) <= LARGE
        and steps <= 20
        and layers <= 4
        and len(task.source) < 50
        and eager
        and not docs
    )


def short(tables: dict[str, Any], *path: str | int) -> dict[str, Any]:
    """Return a task for a step, unless it is the length of the run that is tried."""
    if path[:2] not in (("training", "steps"), ("training", "epochs")) and isinstance(
        tables.get("training"), dict
    ):
        tables = tables | {
            "training": (
                {k: v for k, v in tables["training"].items() if k != "epochs"} | {"steps": 1}
            )
        }
    return tables


APART = 7919
"""How far apart in the list of all those cases two cases of numbers side by side are: a prime."""
Change = Callable[[Any, Any], None]


@functools.cache
def single() -> list[tuple[str, values.Path, Any]]:
    """Return every key of every shipped task with every value that it is tried with."""
    cases: list[tuple[str, values.Path, Any]] = []
    for name in shipped.tasks():
        whole = tables(name)
        for path in values.walk(whole):
            changes: list[Any] = [*values.TOML, *values.kin(values.at(whole, path))]
            cases += [(name, path, values.replaced(value)) for value in changes if _writable(value)]
            cases += [(name, path, values.removed), (name, path, values.renamed(f"{path[-1]}x"))]
    return cases


def _writable(value: Any) -> bool:
    try:
        tomli_w.dumps({"v": value})
    except (TypeError, ValueError):
        return False
    return True


def each_value(case: Case) -> None:
    """One key of one shipped task has a value of each type, is missing or misspelt.

    The case's number says which.
    """
    number = int(case.name.rpartition("/")[2])
    name, path, change = single()[number * APART % len(single())]
    tried(case, name, values.changed(tables(name), path, change), path)


def values_of_keys(case: Case) -> None:
    """Some keys of a task, shipped or of any component, have other values."""
    name = case.random.choice(sorted(texts()))
    whole = tables(name)
    for _ in range(case.random.choice([1, 1, 1, 2, 3])):
        before = whole
        whole, _ = values.disturbed(case.random, whole, values.TOML)
        if not isinstance(whole, dict) or not _writable(whole):
            whole = before
    tried(case, name, whole, ())


def tried(case: Case, name: str, whole: dict[str, Any], path: values.Path) -> None:
    """Try tables in the place of those of a task."""
    text = tomli_w.dumps(short(whole, *path))
    through(case, write(case, text, tomli_w.dumps(short(tables(name)))))
    case.input = f"{name}: {case.input}"


def lines(case: Case) -> None:
    """Lines of a task file are dropped, doubled, swapped, joined, or taken from another task."""
    names = sorted(texts())
    text = _brief(texts()[case.random.choice(names)])
    through(case, write(case, values.shuffled(case.random, text, list(texts().values())), text))


def characters(case: Case) -> None:
    """Characters of a task file are dropped, doubled, flipped or put in; or its bytes are."""
    text = _brief(texts()[case.random.choice(sorted(texts()))])
    if case.random.random() < 0.15:
        raw, _ = values.corrupted(case.random, text.encode())
        through(case, write(case, raw, text))
    else:
        through(case, write(case, values.scribbled(case.random, text), text))


def _brief(text: str) -> str:
    return "\n".join(
        "steps = 1" if line.startswith("epochs = ") else line for line in text.split("\n")
    )


def overrides(case: Case) -> None:
    """A sound task is changed by overrides, as texts or as values."""
    name = case.random.choice(sorted(texts()))
    path = write(case, texts()[name])

    whole, changes = tables(name), dict[str, Any]()
    paths = list(values.walk(whole))
    for _ in range(case.random.choice([1, 1, 2, 4])):
        key = ".".join(map(str, case.random.choice(paths)))
        key = case.random.choice(
            [key, key, key, f"{key}x", f"{key}.x", "", ".", "a.b.c", "extends", key.upper()]
        )
        changes[key] = case.random.choice(values.TOML)
    changes = {"training.steps": 1} | changes

    arguments: Any = changes
    if case.random.random() < 0.5:
        arguments = [
            f"{key}{case.random.choice(['=', '=', ' = ', '', '=='])}{_written(v)}"
            for key, v in changes.items()
        ]

    case.input = f"{name}: {arguments!r}"
    through(case, path, arguments)


def _written(value: Any) -> str:
    """Return a value as it may stand on a command line: as TOML in a line, or as it comes."""
    if isinstance(value, dict | list):
        return json.dumps(value, default=str).replace(": ", " = ")
    return str(value).lower() if isinstance(value, bool) else str(value)


ANSWERS = (0, 1, 2, 3)
"""The exit codes of a command that nobody has interrupted."""
OPTIONS = {
    "run": ["-o", "--runs", "--seed", "--expect", "--json"],
    "check": ["-o", "--json"],
    "resume": ["--expect", "--json"],
    "generate": [
        "--prompt", "--values", "--position", "--length", "--temperature", "--top-k", "--top-p",
        "--min-p",
        "--repetition-penalty", "--stop", "--seed", "--streams", "--json",
    ],
    "evaluate": ["--split", "--json"],
    "new": ["--list", "--json"],
    "schema": ["-o"],
    "plugins list": ["--json"],
    "plugins show": ["--json"],
    "plugins explain": [],
    "plugins new": ["--kind", "--form", "--json"],
    "plugins check": ["-k", "--kind", "--level", "--json"],
}  # fmt: skip
FLAGS = ("--json", "--list", "--expect")
WORDS = [
    "", "x", "-1", "0", "1", "1,2,3", "1,2;3,4", "1;2,3", "nan", "1e999", "9" * 30, "test", "train",
    "cell", "gated",
    "lstm", "RC011", "C02", "he", "hello", "é", "\U0001f40d", "a=b", "cell.hidden_size=4",
    "cell.hidden_size=x", "=",
    "../x", "--", "recurra/lstm", "hello_lstm", "task.toml", "run", ".", "/", "/dev/null",
    "airline.csv", "-", "--help",
    "\udcff", "a\nb",
]  # fmt: skip


def commands(case: Case) -> None:
    """A command line at random ends with an exit code of ours, and shows nobody a traceback."""
    from fuzz.folders import pristine

    random = case.random
    text = _brief(texts()["hello_lstm"])
    write(case, text)
    shutil.copytree(pristine(case.commons, "hello_gru").path, case.folder / "run")
    name = random.choice(sorted(OPTIONS))
    line = name.split()
    if name == "plugins check":  # what it does with a component that is there takes long
        line += [random.choice(["", "lstmx", "lstm"]), "-k", random.choice(["C99", "x", "P04"])]
    else:
        sound = {"run": "task.toml", "check": "task.toml", "new": "hello_gru"}.get(name, "run")
        line += [sound] * (random.random() < 0.7) if name not in ("schema", "plugins list") else []
        line += [random.choice(WORDS) for _ in range(random.choice([0, 0, 0, 1]))]
    for _ in range(random.choice([0, 1, 1, 2, 3])):
        option = random.choice(OPTIONS[name] or ["--x"])
        word = random.choice(WORDS)
        if name == "schema":  # which writes where it is told to
            word = word.removeprefix("../")
        endless = option == "--length" and len(word) > 3  # which is no fault
        line += [option] if option in FLAGS else [option, "3" if endless else word]
    case.input = f"recurra {line}"
    with mock.patch.object(resolving, "discover", quickly):
        code, out, err = _command(case, line)
    if case.faults:
        return
    if code not in ANSWERS:
        case.fault(f"exit code {code}", err[-300:])
    if "Traceback" in out + err:
        case.fault(f"a traceback of {name}", (out + err)[-300:])
    if code and not err.strip():
        case.fault(f"{name} fails without a word", out[-300:])
    if "--json" in line and "--help" not in line and not _is_object(out):
        case.fault(
            f"{name} --json ends without its object",
            f"exit code {code}: {out[-200:]!r} {err[-200:]!r}",
        )


def _is_object(out: str) -> bool:
    try:
        return isinstance(json.loads(out.splitlines()[-1]), dict)
    except (ValueError, IndexError):
        return False


def _command(case: Case, line: list[str]) -> tuple[int, str, str]:
    """Run a command line in this process; return its exit code, and what it printed."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8"),
        io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace"),
    )

    def call() -> int:
        try:
            main()
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        return 0

    with (
        mock.patch.object(sys, "argv", ["recurra", *line]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        outcome = case.attempt(call)
    printed = []
    for stream in (out, err):
        stream.flush()
        printed.append(stream.buffer.getvalue().decode("utf-8", "backslashreplace"))  # type: ignore[attr-defined]
    return outcome.value or 0, printed[0], printed[1]
