"""How results are printed."""

from __future__ import annotations

from typing import Any

from rich.console import Console, ConsoleDimensions
from rich.table import Table

from recurra.cli.visible import visible

NARROWEST = 80
"""Columns that a table takes at least: a narrow terminal wraps its lines, and cuts no figure."""


class _Wide(Console):
    """A console whose tables are never cut."""

    @property
    def size(self) -> ConsoleDimensions:
        """The size of the terminal, or more."""
        width, height = super().size
        return ConsoleDimensions(max(width, NARROWEST), height)

    @size.setter
    def size(self, size: tuple[int, int]) -> None:
        Console.size.fset(self, size)  # type: ignore[attr-defined]


class _Printer:
    """Prints to the stdout of the moment, and keeps nothing of what could not be written."""

    def print(self, what: Any, **options: Any) -> None:
        """Print a text or a table."""
        _Wide(highlight=False, soft_wrap=True, markup=False, emoji=False).print(what, **options)


_console = _Printer()
STEPS_SHOWN = 24
COLUMNS_SHOWN = 8
CLASSES_SHOWN = 16
_UNITS = {"mape": " %"}


def result(found: dict[str, Any]) -> None:
    """Print what a run came to."""
    _console.print(f"\n{found['task']}: {found['parameters']:,} parameters, {_steps(found)}")
    _task_notes(found)
    figures(found)
    if found["weights_of_step"] != found["steps"]:
        best = (
            f"step {found['weights_of_step']} of {found['steps']}, the best on the validation split"
        )
        _console.print(f"weights:   those of {best}")
    generated = found.get("generated")
    if isinstance(generated, str):
        _console.print(f"generated: {visible(generated)}")
    elif generated is not None:
        _console.print("next:      " + ", ".join(numbers(value) for value in generated))
    _console.print(f"run:       {found['run']}")


def _steps(found: dict[str, Any]) -> str:
    """Return how many steps there are, and how long those took that were made now."""
    total, before = found["steps"], found.get("steps_before", 0)
    if before == total:
        return f"{total} steps, all of them made before"
    now = f", {total - before} of them now," if before else ""
    return f"{total} steps{now} in {found['seconds']:.1f} s"


def _task_notes(found: dict[str, Any]) -> None:
    """Print what a change of kind left out of the task."""
    for note in found.get("task_notes", []):
        _console.print(f"note: {note}")


def figures(found: dict[str, Any]) -> None:
    """Print metrics with the baselines beside them, and the verdict."""
    forecast = found.get("forecast")
    title = f"{found['split']} split" + (", one step ahead" if forecast else "")
    _ladder(title, found["metrics"], found["baselines"])
    _columns(found)
    _confusion(found)
    if beginnings := found.get("beginnings"):
        _console.print(
            f"cold and warm: the first steps, {beginnings['steps']} at most, at"
            f" {beginnings['places']} places of the split, from a fresh state and after up to"
            f" {beginnings['before']:,} steps before"
        )
    _notes(found)
    if forecast:
        _ladder(
            f"{found['split']} split, forecast of {forecast['steps']} steps",
            forecast["metrics"],
            forecast["baselines"],
        )
        _columns(forecast)
        _notes(forecast)
        names = [visible(column["name"]) for column in forecast.get("columns", [])]
        for index, name in enumerate((names or [""])[:COLUMNS_SHOWN]):
            _forecast(forecast["last_series"], index, name)
    _console.print(f"verdict:   {found['verdict']}")


def _confusion(found: dict[str, Any]) -> None:
    """Print what was said of each class, a row for each that came; and the sequences that were most
    wrong.
    """
    if confusion := found.get("confusion"):
        names = [_class(name) for name in confusion["classes"]]
        if len(names) <= CLASSES_SHOWN:
            table = Table(
                title="came, and was said to be", title_justify="left", box=None, pad_edge=False
            )
            table.add_column("")
            for number in range(1, len(names) + 1):
                table.add_column(str(number), justify="right")
            for number, (name, row) in enumerate(zip(names, confusion["counts"], strict=True), 1):
                table.add_row(
                    f"{number} {name}", *(f"{count:,}" if count else "." for count in row)
                )
            _console.print(table)
        else:
            _console.print(
                f"  note: the confusion of {len(names):,} classes is in --json and result.json"
            )
    for row in found.get("most_wrong", []):
        came, said = _answer(row["came"]), _answer(row["predicted"])
        chance = f" (p {row['chance']:.2g})" if "chance" in row else ""
        _console.print(
            f"  most wrong: sequence {row['sequence']} is {came}, said to be {said}{chance}"
        )


def _answer(value: str | float | list[float]) -> str:
    """Return a class, a number or several as they are told in a sentence."""
    if isinstance(value, str):
        return _class(value)
    numbers = value if isinstance(value, list) else [value]
    return ", ".join(f"{number:zg}" for number in numbers)


def _class(name: str) -> str:
    """Return the name of a class on one line."""
    return visible(
        name.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    )


def _columns(found: dict[str, Any]) -> None:
    """Print the figures of each of several columns, in its own units."""
    columns = found.get("columns", [])
    for column in columns[:COLUMNS_SHOWN]:
        _ladder(visible(column["name"]), column["metrics"], column["baselines"])
    if len(columns) > COLUMNS_SHOWN:
        _console.print(
            f"  note: {len(columns) - COLUMNS_SHOWN:,} more columns are in --json and result.json"
        )


def _notes(found: dict[str, Any]) -> None:
    """Print what is to be said of a table: the bounds that it was made under, and what it lacks."""
    for note in found.get("notes", []):
        _console.print(f"  note: {note}")


def _ladder(title: str, metrics: dict[str, float], baselines: dict[str, dict[str, float]]) -> None:
    names = list(metrics)
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row("model", *(_figure(name, metrics.get(name)) for name in names), style="bold")
    for rule, row in baselines.items():
        table.add_row(rule, *(_figure(name, row.get(name)) for name in names))
    _console.print(table)


def _forecast(rows: dict[str, list[list[float]]], index: int, name: str) -> None:
    """Print the forecast of one column step by step beside what came; a long one to its 24th
    step.
    """
    table = Table(
        title=name or None, title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    table.add_column("step", justify="right")
    for name in rows:
        table.add_column(name, justify="right", style="bold" if name == "model" else "")
    for step, values in enumerate(zip(*rows.values(), strict=True), 1):
        if step > STEPS_SHOWN:
            table.add_row("...")
            break
        table.add_row(str(step), *(f"{value[index]:z.6g}" for value in values))
    _console.print(table)


def _figure(name: str, value: float | None) -> str:
    return "" if value is None else f"{value:z.4g}{_UNITS.get(name, '')}"


def numbers(value: Any) -> str:
    """Return a step of a forecast as a text: a number, or several in brackets."""
    return (
        "(" + ", ".join(f"{v:z.6g}" for v in value) + ")"
        if isinstance(value, list)
        else f"{value:z.6g}"
    )


def report(found: dict[str, Any]) -> None:
    """Print what `recurra check` found."""
    _console.print(f"{found['task']}: the task is sound")
    _task_notes(found)
    parts = ", ".join(f"{kind} {name}" for kind, name in found["components"].items())
    _console.print(f"components  {parts}")
    _console.print(f"device      {found['device']}")
    _data(found["data"])
    _vocabulary(found["vocabulary"])
    _console.print(
        "shapes      "
        + " -> ".join(
            f"{name.strip()} {shape}" for name, shape in found["shapes"] if name[0] != " "
        )
    )
    for name, shape in found["shapes"]:
        if name[0] == " ":
            _console.print(f"            {name} {shape}")
    for layer in found["layers"]:
        path = f"  path {layer['path']}" if "path" in layer else ""
        _console.print(f"{layer['name']:12}{layer['parameters']:>12,} parameters{path}")
        if "path" in layer:
            _paths(layer)
    _console.print(f"{'together':12}{found['parameters']:>12,} parameters")
    training, memory = found["training"], found["memory"]
    _console.print(
        f"training    {training['steps']} steps of {training['tokens_per_step']} predictions"
    )
    detail = ", ".join(f"{name} {_bytes(size)}" for name, size in memory.items() if name != "total")
    _console.print(f"memory      about {_bytes(memory['total'])}: {detail}")
    _console.print(
        f"time        about {_duration(found['seconds'])}: {found['seconds_per_step'] * 1000:.2g}"
        " ms a step, measured"
    )


def _paths(layer: dict[str, Any]) -> None:
    """Print what each path of a layer costs, what single steps run on, and why other paths are
    refused.
    """
    _console.print(f"            {_costs(layer)}")
    if one := layer.get("one_step"):
        _console.print(f"            one step at a time: {one['path']}; {_costs(one)}")
    for refused, why in layer["refused"].items():
        _console.print(f"            not {refused}: {why}")


def _costs(chosen: dict[str, Any]) -> str:
    seconds = sorted(chosen["seconds_per_step"].items(), key=lambda item: item[1])
    told = ", ".join(f"{name} {_moment(value)}" for name, value in seconds)
    note = chosen.get("note")
    if not told:
        return note or "not measured"
    return f"measured a step: {told}" + (f"; {note}" if note else "")


def _moment(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} us" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def _data(data: dict[str, Any]) -> None:
    _console.print(
        f"data        {data['elements']:,} elements in {data['sequences']:,} sequences, cut into"
        f" {data['cut']}"
    )
    for name, part in data["splits"].items():
        if part["elements"]:
            text = (
                f"{part['elements']:,} elements, {part['predicted']:,} predicted,"
                f" {part['windows']:,} windows"
            )
            _console.print(f"  {name:12}{text}")


def _vocabulary(vocabulary: dict[str, Any]) -> None:
    if "symbols" not in vocabulary:
        names = vocabulary["features"] or [f"feature {i}" for i in range(vocabulary["size"])]
        scales = zip(names, vocabulary.get("shift", []), vocabulary.get("scale", []), strict=False)
        text = "; ".join(f"{name}: (x - {shift:zg}) / {scale:zg}" for name, shift, scale in scales)
        _console.print(f"vocabulary  {vocabulary['size']} features  {text}")
        for transform in vocabulary["transforms"]:
            _console.print(f"  then      {transform}")
        return
    symbols = vocabulary["symbols"]
    text = "  ".join(f"{index}:{symbol!r}" for index, symbol in enumerate(symbols))
    more = (
        f"  and {vocabulary['size'] - len(symbols)} more"
        if vocabulary["size"] > len(symbols)
        else ""
    )
    _console.print(f"vocabulary  {vocabulary['size']} symbols  {text}{more}")


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
