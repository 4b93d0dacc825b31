"""Predictions as they are written: to a file, or to the terminal as a table or as JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from recurra.cli.common import speaks_unicode
from recurra.errors import InputError
from recurra.job.answer_table import AnswerTable
from recurra.job.dealing import given
from recurra.job.scored import Scoring
from recurra.runs import written
from recurra.world import world

WHAT = "predictions are"


def write(table: AnswerTable, output: Path | None, as_json: bool) -> int:
    """Write predictions one after the other, to a file or to stdout; return how many there are.

    The file takes its name once all are written; of several processes the first writes.

    Raises `InputError` (RC041) where there is none, (RC080) for a file whose name tells no form,
    and `RunError` (RC053).
    """
    if output is not None:
        written.form_of(output, WHAT)

    # What is wrong with all of them is told by the first, before anything is written.
    first = next(table.rows, None)
    if first is None:
        fact = "there is no sequence to answer: the file holds no row"
        raise InputError.of("RC041", fact, cure="is it the right file?")
    kinds = table.kinds

    def write(rows: Iterable[written.Row]) -> int:
        if output is not None:
            return written.write(output, rows, kinds, WHAT, table.moments)
        if as_json:
            count = written.write_lines(rows, sys.stdout, escaped=not speaks_unicode())
        else:
            count = written.write_csv(rows, list(kinds), sys.stdout)
        sys.stdout.flush()
        return count

    return given(chain([first], table.rows), write)


def write_scores(scoring: Scoring, output: Path | None, as_json: bool) -> None:
    """Write scores as `write` does; tell the threshold, and how well labelled steps are found.

    It is told on stderr where the scores go to stdout.
    """
    count = write(scoring.table, output, as_json)
    if not world().first:
        return
    stream = sys.stderr
    if output is not None:
        print(f"wrote {count:,} scores to {output}")
        stream = sys.stdout
    alarm, counted = scoring.alarm, scoring.counted
    thresholds = ", ".join(f"{number:.4g}" for number in alarm.thresholds.tolist())
    print(f"threshold: {thresholds} {scoring.unit}; {alarm.told}", file=stream)
    print(f"flagged:   {counted.flagged:,} of {counted.scored:,} scores", file=stream)
    for note in counted.notes():
        print(f"note:      {note}", file=stream)
    if scoring.detection is None:
        return

    figures = scoring.detection.figures()
    share = {name: "-" if value is None else f"{value:.3f}" for name, value in figures.items()}
    print(
        f"labelled:  {figures['anomalous']:,} of {figures['steps']:,} steps are anomalies,"
        f" {figures['events']:,} events; {figures['unscored']:,} of these steps have no score",
        file=stream,
    )
    print(
        f"by step:   precision {share['precision']}, recall {share['recall']}, F1 {share['f1']},"
        f" average precision {share['average_precision']} (by chance {share['chance']})",
        file=stream,
    )
    print(
        f"by event:  {figures['events_found']:,} of {figures['events']:,} events are found;"
        f" {figures['alarms_right']:,} of {figures['alarms']:,} alarms are right;"
        f" precision {share['event_precision']}, recall {share['event_recall']},"
        f" F1 {share['event_f1']}",
        file=stream,
    )
