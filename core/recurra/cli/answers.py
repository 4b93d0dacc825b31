"""The commands `generate` and `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recurra.cli.common import Json, LevelsAsked, RunPath, Seed, Trust, print_json
from recurra.errors import InputError
from recurra.surroundings import loading


def generate(
    run: RunPath,
    prompt: Annotated[
        str | None, typer.Option(help="The text to go on from; tokens with spaces as a JSON list.")
    ] = None,
    values: Annotated[
        str | None, typer.Option(help="The numbers to go on from: 1,2,3; several features: 1,2;3,4")
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(help="The series to go on from: its name, or its number from 1."),
    ] = None,
    position: Annotated[
        int | None,
        typer.Option(
            min=0, help="Where in its sequence the prompt begins, for an encoder with a clock."
        ),
    ] = None,
    warm: Annotated[
        bool | None,
        typer.Option(
            "--warm/--no-warm",
            help="Read the end of the training text, or of the series, before the prompt.",
        ),
    ] = None,
    time: Annotated[str | None, typer.Option(help="The time stamp of the first step.")] = None,
    length: Annotated[
        int | None, typer.Option(min=0, help="How many elements to generate.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy; 1 samples as the network says.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Sample among the k likeliest; 0 is all.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample among the likeliest that hold this share.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Leave out what is far less likely than the best.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1: less of what has come.")
    ] = None,
    stop: Annotated[list[str] | None, typer.Option(help="A text that ends the generation.")] = None,
    seed: Seed = None,
    streams: Annotated[
        int, typer.Option(min=1, help="How many sequences to draw side by side.")
    ] = 1,
    levels: LevelsAsked = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Generate text from a run, or forecast numbers in the data's own units."""
    with loading():
        from recurra import verbs
        from recurra.cli.generations import GENERATIONS
        from recurra.cli.values import parse, prompted, text_or_tokens

    if prompt is not None and values is not None:
        raise InputError.of("RC080", "give --prompt for text or --values for numbers, not both")

    opened = verbs.load(run, trust=trust)
    vocabulary = opened.vocabulary
    generation = GENERATIONS[vocabulary.yields]
    generation.check(prompt, values, streams)

    beginning: Any = None
    if values is not None:
        beginning = parse(values, vocabulary.size, vocabulary.missing is not None)
    elif prompt is not None:
        beginning = text_or_tokens(prompt, vocabulary.reads, "--prompt")
    settings: dict[str, Any] = {
        "seed": seed, "streams": streams, "position": position, "warm": warm, "series": series,
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "stop": stop or None, "time": time,
        "levels": opened.told_levels(levels, length),
    }  # fmt: skip
    with prompted("--prompt" if values is None else "--values"):
        steps = opened.generate(beginning, length, **settings)

    text = opened.prompt() if prompt is None else prompt
    if isinstance(beginning, list) and prompt is not None:
        text = " ".join(beginning)
    if as_json:
        read = generation.prompt(beginning, text)
        generated = generation.gathered(steps, streams)
        print_json({"prompt": read, **generated})
    else:
        generation.write(steps, text, streams)


def predict(
    run: RunPath,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="New sequences, in the form of the run's data; no labels.", metavar="FILE"
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="One sequence of text, or a JSON list of tokens.")
    ] = None,
    values: Annotated[
        str | None, typer.Option(help="One sequence of numbers: 1,2,3; several features: 1,2;3,4")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(min=0, help="How many steps to go on, where a run can.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write to a file, .csv, .jsonl or .parquet.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Tell what is wrong with a row in a column.")
    ] = False,
    levels: LevelsAsked = None,
    score: Annotated[
        bool, typer.Option("--score", help="Tell how surprising each step is, and flag anomalies.")
    ] = False,
    alarm: Annotated[
        float | None,
        typer.Option(help="The share of ordinary steps that is flagged at most; 0.01 by default."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Flag above this score, without looking at the run's data.")
    ] = None,
    history: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of each series that are read before the first is scored."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="A column that says 0 or 1 of a step: how well these are found."),
    ] = None,
    trust: Trust = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each sequence.")
    ] = False,
) -> None:
    """Answer new sequences: labels with their chances, numbers, or what comes next; or score the
    steps of series.
    """
    with loading():
        from recurra import verbs
        from recurra.cli import predictions
        from recurra.cli.values import READERS, text_or_tokens
        from recurra.job.scored import Asked, scoring_of
        from recurra.world import joined

    origins = [origin for origin in (file, text, values) if origin is not None]
    if len(origins) != 1:
        raise InputError.of("RC080", "give a file, or --text, or --values")

    with joined() as here:
        piped = file is not None and file.exists() and not (file.is_file() or file.is_dir())
        if here.size > 1 and piped:
            fact = f"{file} is no file that each of {here.size} processes can read as a whole"
            raise InputError.of("RC080", fact, cure="write it to a file first")
        opened = verbs.load(run, trust=trust)
        rows: list[Any] | None = None
        if text is not None:
            rows = [text_or_tokens(text, opened.vocabulary.reads, "--text")]
        elif values is not None:
            read = READERS[opened.vocabulary.yields]
            lacks = opened.vocabulary.missing is not None
            rows = [read(values, opened.vocabulary.size, lacks)]
        if score:
            _refuse("--score", {"--horizon": horizon, "--levels": levels or None})
            asked = Asked(alarm, threshold, history, labels, skip_bad)
            predictions.write_scores(scoring_of(opened, rows, file, None, asked), output, as_json)
            return
        of_scores = {"alarm": alarm, "threshold": threshold, "history": history, "labels": labels}
        _refuse("", {f"--{name}": value for name, value in of_scores.items()})
        table = opened.table(rows, file=file, horizon=horizon, skip_bad=skip_bad, levels=levels)
        count = predictions.write(table, output, as_json)
        if output is not None and here.first:
            print(f"wrote {count:,} predictions to {output}")


def _refuse(beside: str, options: dict[str, Any]) -> None:
    """Refuse options that count for nothing here. Raises `InputError` (RC080)."""
    for name, value in options.items():
        if value is not None:
            fact = f"{name} is for scores" if not beside else f"{name} has no use beside {beside}"
            cure = "leave it out" if beside else "add --score"
            raise InputError.of("RC080", fact, cure=cure)
