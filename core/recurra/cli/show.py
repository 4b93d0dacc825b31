"""How results are printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recurra.cli.forecast_view import forecast_table, show_by_step
from recurra.cli.printing import (
    empty_table,
    out,
    show_columns,
    show_intervals,
    show_ladder,
    show_notes,
)
from recurra.cli.visible import visible
from recurra.engine.choice import Choice
from recurra.job.figures import (
    Completion,
    Confusion,
    Figures,
    Result,
    Said,
    Tagged,
    Wrong,
)
from recurra.job.report import (
    Classes,
    DataSizes,
    Memory,
    NumberVocabulary,
    Quantified,
    Report,
    SymbolVocabulary,
)

EXACT = 17
"""Digits that tell any two numbers apart."""
CLASSES_SHOWN = 16
"""Classes up to which a confusion is printed."""
RUNS_SHOWN = 24
"""Runs of a tagged sequence that are printed."""
BITS = {
    "strict": "the same bits where versions, processor, threads and paths are the same",
    "relaxed": "no two runs need have the same bits",
}
"""What a kind of determinism promises."""
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", "\t": r"\t", "\r": r"\r"})


def result(result: Result, notes: Sequence[str] = (), steps_before: int = 0) -> None:
    """Print what a run came to.

    `notes` are what a change of kind left out of the task; `steps_before` were made earlier.
    """
    task, weights = result["task"], result["parameters"]
    steps = _steps(result, steps_before)
    out(f"\n{task}: {weights:,} parameters, {steps}")
    _task_notes(notes)
    figures(result)

    # The last step is not always the best.
    best, last = result["weights_of_step"], result["steps"]
    if best != last:
        out(f"weights:   those of step {best} of {last}, the best on the validation split")
    generated = result.get("generated")
    if isinstance(generated, str):
        out(f"generated: {visible(generated)}")
    elif generated is not None:
        stamps = result.get("ds", [])
        texts = [numbers(step) for step in generated]
        bounds = result.get("bounds", {})
        for place, text in enumerate(texts):
            own = [f"{name} {numbers(each[place])}" for name, each in bounds.items()]
            texts[place] = f"{text} ({', '.join(own)})" if own else text
        if stamps:
            texts = [f"{stamp} {text}" for stamp, text in zip(stamps, texts, strict=True)]
        steps = ", ".join(texts)
        out(f"next:      {steps}")
    out(f"run:       {result['run']}")


def _steps(result: Result, before: int) -> str:
    """Return how many steps there are, and how long those took that were made now."""
    total, seconds = result["steps"], result["seconds"]
    if before == total:
        return f"{total} steps, all of them made before"
    now = f", {total - before} of them now," if before else ""
    return f"{total} steps{now} in {seconds:.1f} s"


def _task_notes(notes: Sequence[str]) -> None:
    """Print what a change of kind left out of the task."""
    for note in notes:
        out(f"note: {note}")


def figures(figures: Figures) -> None:
    """Print metrics with the baselines beside them, and the verdict."""
    name = figures["split"]
    split = "all of the data" if name == "all" else f"{name} split"
    forecast = figures.get("forecast")
    # Where there is a forecast, its table follows, of the same split.
    title = f"{split}, one step ahead" if forecast else split
    if by_step := figures.get("by_step"):
        title = f"{split}, {by_step[0]['ahead']} to {by_step[-1]['ahead']} steps ahead"
    show_ladder(title, figures["metrics"], figures["baselines"])
    show_intervals(figures["metrics"])
    errors = {rule: row["mae"] for rule, row in figures["baselines"].items() if "mae" in row}
    best = min(errors, key=lambda rule: errors[rule], default=None)
    show_by_step(by_step or [], "mae", best)
    show_columns(figures.get("columns", []))
    if confusion := figures.get("confusion"):
        _confusion(confusion)
    _most_wrong(figures.get("most_wrong", []))
    _completions(figures.get("completions", []))
    if tagged := figures.get("tagged"):
        _tagged(tagged)

    if beginnings := figures.get("beginnings"):
        steps, places = beginnings["steps"], beginnings["places"]
        before = beginnings["before"]
        out(
            f"cold and warm: the first steps, {steps} at most, at {places} places of the split,"
            f" from a fresh state and after up to {before:,} steps before"
        )
    show_notes(figures["notes"])
    if forecast:
        forecast_table(split, forecast, figures.get("judged", "mae"), figures.get("best_baseline"))
    out(f"verdict:   {figures['verdict']}")


def _confusion(confusion: Confusion) -> None:
    """Print what was said of each class, a row for each that came."""
    names = [_class(name) for name in confusion["classes"]]
    if len(names) > CLASSES_SHOWN:
        out(f"  note: the confusion of {len(names):,} classes is in --json and result.json")
        return

    # The columns have the numbers of the classes, which stand in full before the rows.
    table = empty_table("came, and was said to be")
    table.add_column("")
    for number in range(1, len(names) + 1):
        table.add_column(str(number), justify="right")
    for number, (name, counts) in enumerate(zip(names, confusion["counts"], strict=True), 1):
        cells = [f"{count:,}" if count else "." for count in counts]
        table.add_row(f"{number} {name}", *cells)
    out(table)


def _most_wrong(sequences: list[Wrong]) -> None:
    """Print the sequences that were most wrong."""
    for wrong in sequences:
        sequence = wrong["sequence"]
        came, predicted = _told_apart(wrong["came"], wrong["predicted"])
        chance = f" (p {wrong['chance']:.2g})" if "chance" in wrong else ""
        out(f"  most wrong: sequence {sequence} is {came}, said to be {predicted}{chance}")


def _completions(completions: list[Completion]) -> None:
    """Print some prompts, what the model answers, and the right answer where that is another."""
    for completion in completions:
        said, came = _class(completion["predicted"]), _class(completion["came"])
        right = completion["ended"] and said == came
        verdict = "" if right else f"   right: {came}"
        end = "" if completion["ended"] else "..."
        out(f"  {_class(completion['prompt'])} -> {said}{end}{verdict}")


def _tagged(tagged: Tagged) -> None:
    """Print how a sequence was tagged, a line for each run of steps that are tagged alike."""
    first = tagged["first"]
    out(f"tagged:    sequence {tagged['sequence']}, from step {first} on")
    width = max(len(_class(run["predicted"])) for run in tagged["runs"][:RUNS_SHOWN])
    for run in tagged["runs"][:RUNS_SHOWN]:
        last = first + run["steps"] - 1
        where = f"step {first}" if last == first else f"steps {first} to {last}"
        text = _class(run["read"])
        what = f'"{text}"' if text else where
        wrong = "" if run["came"] == run["predicted"] else f"  <- is {_class(run['came'])}"
        out(f"  {_class(run['predicted']):{width}}  {what}{wrong}")
        first = last + 1


def _told_apart(came: Said, predicted: Said) -> tuple[str, str]:
    """Return two answers as they are told in a sentence, in as many digits as tell them apart."""
    for digits in range(4, EXACT):
        texts = _answer(came, digits), _answer(predicted, digits)
        if texts[0] != texts[1]:
            return texts
    return _answer(came, EXACT), _answer(predicted, EXACT)


def _answer(answer: Said, digits: int) -> str:
    """Return a class, a number or several as they are told in a sentence."""
    if isinstance(answer, str):
        return _class(answer)
    numbers = answer if isinstance(answer, list) else [answer]
    return ", ".join(f"{number:z.{digits}g}" for number in numbers)


def _class(name: str) -> str:
    """Return the name of a class on one line."""
    return visible(name.translate(_ESCAPES))


def numbers(value: Any) -> str:
    """Return a step of a forecast as a text: a number, or several in brackets."""
    if value is None:
        return "none"
    if not isinstance(value, list):
        return f"{value:z.6g}"
    texts = ["none" if number is None else f"{number:z.6g}" for number in value]
    return f"({', '.join(texts)})"


def report(report: Report) -> None:
    """Print what `recurra check` found."""
    out(f"{report.task}: the task is sound")
    _task_notes(report.notes)
    components = [f"{kind} {name}" for kind, name in report.components.items()]
    _line("components", ", ".join(components))
    _line("device", f"{report.device}; {BITS[report.determinism]}")
    _data(report.data)
    _vocabulary(report.vocabulary)
    _answers(report.answers)
    _shapes(report)
    _parts(report)

    training = report.training
    predictions = training.tokens_per_step
    _line("training", f"{training.steps} steps of {predictions} predictions")
    _memory(report.memory)
    total = _duration(report.seconds)
    milliseconds = report.seconds_per_step * 1000
    _line("time", f"about {total}: {milliseconds:.2g} ms a step, measured")


def _line(heading: str, text: str) -> None:
    """Print a line of a report behind its heading; without one it goes on with the line above."""
    out(f"{heading:12}{text}")


def _parts(report: Report) -> None:
    """Print the size of each part of the network, and of all together."""
    for part in report.parts:
        path = f"  path {part.choice.path}" if part.choice else ""
        _line(part.name, f"{part.parameters:>12,} parameters{path}")
        if part.choice:
            _paths(part.choice)
    _line("together", f"{report.parameters:>12,} parameters")


def _memory(memory: Memory) -> None:
    """Print how much memory training takes, and what for."""
    sizes = memory.parts().items()
    detail = ", ".join(f"{name} {_bytes(size)}" for name, size in sizes)
    _line("memory", f"about {_bytes(memory.total)}: {detail}")


def _shapes(report: Report) -> None:
    """Print what each stage of the network gives, in one line, and below it what states hold."""
    stages = [f"{stage.name} {stage.shape}" for stage in report.shapes if not stage.is_state]
    _line("shapes", " -> ".join(stages))
    for stage in report.shapes:
        if stage.is_state:
            _line("", f"{stage.title} {stage.shape}")


def _paths(choice: Choice) -> None:
    """Print what each path costs, what single steps run on, and why other paths are refused."""
    _line("", _costs(choice))
    if one := choice.one_step:
        _line("", f"one step at a time: {one.path}; {_costs(one)}")
    for path, why in choice.refused.items():
        _line("", f"not {path}: {why}")


def _costs(choice: Choice) -> str:
    """Return the time a step of each path, the fastest first, or why none was measured."""
    fastest_first = sorted(choice.seconds.items(), key=lambda item: item[1])
    times = ", ".join(f"{path} {_moment(seconds)}" for path, seconds in fastest_first)
    if not times:
        return choice.note or "not measured"
    note = f"; {choice.note}" if choice.note else ""
    return f"measured a step: {times}{note}"


def _moment(seconds: float) -> str:
    """Return a short time as a text."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    return f"{seconds * 1e3:.3g} ms"


def _data(data: DataSizes) -> None:
    """Print how large the data is, and each split that holds any."""
    total = f"{data.elements:,} elements in {data.sequences:,} sequences"
    _line("data", f"{total}, cut into {data.cut}")
    for note in data.notes:
        _line("", note)
    for name, split in data.splits.items():
        if split.elements:
            elements = f"{split.elements:,} elements"
            answers = f"{split.predicted:,} predicted, {split.windows:,} windows"
            out(f"  {name:12}{elements}, {answers}")
    _covariates(data)


def _covariates(data: DataSizes) -> None:
    """Print what is read beside the elements, role by role."""
    if not data.covariates:
        return
    counts = f"{len(data.covariates):,}, read as {data.covariate_inputs:,} numbers a step"
    _line("covariates", counts)
    for role in dict.fromkeys(covariate.role for covariate in data.covariates):
        told = [
            f"{visible(each.name)} ({_kind(each.categories)})"
            for each in data.covariates
            if each.role == role
        ]
        out(f"  {role:12}{', '.join(told)}")


def _kind(categories: int | None) -> str:
    """Return what a covariate is made of."""
    if categories is None:
        return "numbers"
    return f"{categories:,} categor{'y' if categories == 1 else 'ies'}"


def _vocabulary(vocabulary: SymbolVocabulary | NumberVocabulary) -> None:
    """Print the symbols, or the features with their scale."""
    if isinstance(vocabulary, NumberVocabulary):
        _features(vocabulary)
        return

    size, symbols = vocabulary.size, vocabulary.symbols
    texts = [f"{index}:{symbol!r}" for index, symbol in enumerate(symbols)]
    more = size - len(symbols)
    if more > 0:
        texts.append(f"and {more} more")
    _line("vocabulary", f"{size} symbols  {'  '.join(texts)}")
    for note in vocabulary.notes:
        _line("", note)


def _features(vocabulary: NumberVocabulary) -> None:
    """Print how each feature is scaled, if at all, and what becomes of it then."""
    names = vocabulary.features or [f"feature {index}" for index in range(vocabulary.size)]
    shifts = vocabulary.learned.get("shift", [])
    scales = vocabulary.learned.get("scale", [])
    formulas = [
        f"{name}: (x - {shift:zg}) / {scale:zg}"
        for name, shift, scale in zip(names, shifts, scales, strict=False)
    ]
    _line("vocabulary", f"{vocabulary.size} features  {'; '.join(formulas)}")
    for note in vocabulary.notes:
        _line("", note)
    for transform in vocabulary.transforms:
        _line("  then", transform)
    for scale in vocabulary.beside:
        _line("  beside", scale)


def _answers(answers: Classes | Quantified | None) -> None:
    """Print what answers that stand in a column of their own are."""
    if isinstance(answers, Classes):
        counts = [f"{_class(name)} {count:,}" for name, count in answers.counts.items()]
        more = answers.size - len(counts)
        if more > 0:
            counts.append(f"and {more:,} more")
        _line("answers", f"{answers.size:,} classes  {', '.join(counts)}")
    elif isinstance(answers, Quantified):
        means = answers.learned["shift"]
        spans = [
            f"from {least:z.6g} to {greatest:z.6g}, mean {mean:z.6g}"
            for least, greatest, mean in zip(answers.least, answers.greatest, means, strict=True)
        ]
        if answers.size == 1:
            _line("answers", f"1 number each, {spans[0]}")
            return
        named = [f"number {place}: {span}" for place, span in enumerate(spans, 1)]
        _line("answers", f"{answers.size} numbers each  {'; '.join(named)}")


def _bytes(size: float) -> str:
    """Return a size as a text, in the unit that suits it."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _duration(seconds: float) -> str:
    """Return a time as a text, in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.2g} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
