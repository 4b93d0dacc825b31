"""The table: every case, what it must reach, and a run over those that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from recurra.bench import busy, generation, layers, processes, regret, training
from recurra.bench.machine import Machine, examined
from recurra.bench.records import SHAPES, Case, Record, Setting, measured
from recurra.engine.threads import using
from recurra.errors import InputError
from recurra.surroundings import cores, most_threads

Told = Callable[[Record], None]
"""Is told of each record as it comes."""


def _against_torch(row: int, name: str, module: str, floors: dict[str, float]) -> list[Case]:
    measure = partial(layers.against_torch, name)
    return [
        Case(row, f"{name} / nn.{module}", shape, "speed", floor, measure)
        for shape, floor in floors.items()
    ]


CASES: list[Case] = [
    *_against_torch(1, "gru", "GRU", {"D": 8, "S": 5, "M": 1.2, "L": 1.05}),
    *_against_torch(2, "rnn", "RNN", {"D": 5, "S": 3, "M": 1, "L": 1}),
    *_against_torch(3, "lstm", "LSTM", dict.fromkeys("DSML", 0.97)),
    Case(4, "custom cell / loop by hand", "D", "speed", 10, layers.against_loop),
    Case(4, "custom cell / loop by hand", "S", "speed", 4, layers.against_loop),
    Case(4, "custom cell / loop by hand", "M", "speed", 1.2, layers.against_loop),
    *(
        Case(
            5,
            "custom cell / nn.LSTM, by the product",
            shape,
            "speed",
            0.9,
            layers.custom_against_lstm,
        )
        for shape in "SML"
    ),
    Case(6, "mingru / its eager loop", "D", "speed", 20, layers.scan_against_eager),
    Case(6, "mingru / nn.GRU", "M", "speed", 3, layers.scan_against_gru),
    Case(7, "training step / bare loop", "S", "time", 1.15, training.engine_against_bare),
    Case(7, "training step / bare loop", "M", "time", 1.03, training.engine_against_bare),
    Case(8, "generation / naive loop", "H128", "speed", 5, generation.session_against_naive),
    Case(8, "generation / naive loop", "H512", "speed", 10, generation.session_against_naive),
    Case(
        9,
        "streams at once / one after the other",
        "256 H128",
        "speed",
        30,
        generation.streams_against_singles,
    ),
    Case(
        9,
        "streams at once / naive loops in turn",
        "256 H128",
        "speed",
        None,
        generation.streams_against_naive,
    ),
    Case(10, "first use of a fused cell", "S", "s", 3, processes.first_use),
    Case(10, "the same, its kernel cached", "S", "s", None, processes.second_use),
    Case(11, "memory beyond torch's, 1 GB text", "", "GB", 1, processes.memory),
    Case(12, "recurra --help", "", "s", 0.4, processes.start_of("--help")),
    Case(12, "recurra plugins list", "", "s", 0.4, processes.start_of("plugins", "list")),
    *(
        Case(16, f"{name}, a core taken", "", "time", 2.5, partial(busy.task_beside_burner, name))
        for name in ("hello_lstm", "counting")
    ),
    *(
        Case(
            16,
            f"{name}, a core taken",
            shape,
            "time",
            2.5,
            partial(busy.window_beside_burner, name),
        )
        for name in ("gru", "lstm")
        for shape in "DS"
    ),
    *(
        Case(
            17,
            f"{name}, worst choice{when}",
            "",
            "worst",
            1.25,
            partial(regret.regret, name, bool(when)),
        )
        for when in ("", ", a core taken")
        for name in ("gru", "lstm", "peephole", "mingru", "mlstm")
    ),
]
"""The lines of the table, in order; of those in seconds, gigabytes or shares of a time the floor is
a ceiling.
"""

ASKED = {16, 17}
"""Rows that take long, and are measured only where they are asked for."""


def chosen(rows: str | None, shapes: str | None) -> list[Case]:
    """Return the cases of some rows, `1,4,7`, at some shapes, `D,S`; all where None, and those
    without such a shape.

    The rows of `ASKED` are not among them unless they are named.

    Raises `InputError` (RC080) for a row or a shape that there is not, and where nothing is left.
    """
    known = [str(number) for number in sorted({case.row for case in CASES})]
    wanted = _listed("--rows", rows, known)
    if rows is None:
        wanted = [row for row in known if int(row) not in ASKED]
    sizes = _listed("--shapes", shapes, list(SHAPES))
    found = [
        case
        for case in CASES
        if str(case.row) in wanted and (case.shape in sizes or case.shape not in SHAPES)
    ]
    if not found:
        has = sorted(
            {case.shape for case in CASES if str(case.row) in wanted}, key=list(SHAPES).index
        )
        fact = f"rows {rows} are not measured at {shapes}"
        raise InputError.of("RC080", fact, allowed=f"--shapes {','.join(has)}")
    return found


def _listed(option: str, given: str | None, known: list[str]) -> list[str]:
    """Return the parts of a list with commas. Raises `InputError` (RC080)."""
    if given is None:
        return known
    parts = [part.strip() for part in given.split(",")]
    if foreign := [part for part in parts if part not in known]:
        fact = f"{option}: there is no {foreign[0]!r}"
        raise InputError.of(
            "RC080", fact, got=given, allowed=f"{', '.join(known)}, with commas between"
        )
    return parts


def run(
    cases: list[Case],
    told: Told = lambda record: None,
    *,
    begun: Callable[[Machine], None] = lambda machine: None,
    pairs: int = 7,
    threads: int | None = None,
) -> tuple[Machine, list[Record]]:
    """Measure cases one after the other, with as many threads as said; `begun` is told what machine
    it is first.
    """
    with _threads(threads):
        machine = examined()
        begun(machine)
        setting = Setting(machine, pairs)
        records = []
        for case in cases:
            records.append(measured(case, setting))
            told(records[-1])
    return machine, records


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Set torch's threads, and put back what there was. Raises `InputError` (RC080) if there are
    far too many.
    """
    if count and count > most_threads():
        fact = (
            f"--threads: this machine has {cores()} cores, and so many threads would wait for each"
            " other"
        )
        raise InputError.of("RC080", fact, got=str(count), allowed=f"1 to {most_threads()}")
    with using(count or torch.get_num_threads()):
        yield
