"""The table: every case, what it must reach, and a run over those that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from recurra.bench import (
    busy,
    generation,
    layers,
    processes,
    regret,
    rival_generation,
    rival_layers,
    rival_training,
    training,
)
from recurra.bench.machine import Machine, examined
from recurra.bench.records import SHAPES, Case, Record, Rivals, Setting, measured
from recurra.engine.threads import using
from recurra.errors import InputError
from recurra.generate.sampling import Sampling
from recurra.surroundings import cores, most_threads

Listener = Callable[[Record], None]
"""Is told of each record as it comes."""


def _against_torch(row: int, name: str, module: str, floors: dict[str, float]) -> list[Case]:
    """Return the cases of a cell beside torch's module: the floor of each shape."""
    what = f"{name} / nn.{module}"
    measure = partial(layers.against_torch, name)
    return [Case(row, what, shape, "speed", floor, measure) for shape, floor in floors.items()]


def _custom_against_lstm(shape: str) -> Case:
    what = "custom cell / nn.LSTM, by the product"
    return Case(5, what, shape, "speed", 0.9, layers.custom_against_lstm)


def _task_beside_burner(name: str) -> Case:
    measure = partial(busy.task_beside_burner, name)
    return Case(16, f"{name}, a core taken", "", "time", 2.5, measure)


def _window_beside_burner(name: str, shape: str) -> Case:
    measure = partial(busy.window_beside_burner, name)
    return Case(16, f"{name}, a core taken", shape, "time", 2.5, measure)


def _worst_choice(name: str, *, beside_burner: bool) -> Case:
    condition = ", a core taken" if beside_burner else ""
    measure = partial(regret.regret, name, beside_burner)
    return Case(17, f"{name}, worst choice{condition}", "", "worst", 1.25, measure)


def _layer_against_jax(name: str, shape: str, *, best: bool) -> Case:
    what = f"{name} / {'the best of jax' if best else 'jax.lax.scan'}"
    measure = partial(rival_layers.against_jax, name, best)
    return Case(13, what, shape, "speed", 1.0, measure)


def _generation(row: int, shape: str, sampling: Sampling) -> Iterator[Case]:
    """Give the cases of generation beside others, at a shape, with a draw or without."""
    onnx, jax = rival_generation.onnx_named, rival_generation.jax_named
    stepwise, block = rival_generation.STEPWISE, rival_generation.BLOCK
    called, bound, whole = onnx("called"), onnx("bound"), onnx("whole")
    one = row == 14
    least = 1.0 if one else 1.1

    pairs: list[tuple[str, str, list[str], str, float | None]] = [
        ("onnxruntime", stepwise, called, "onnxruntime, called", least),
        ("onnxruntime", stepwise, bound, "onnxruntime, bound", least),
        ("onnxruntime", block, whole, "onnxruntime, whole loop", least),
        ("jax", stepwise, jax("called"), "jax, called", 1.0 if one else None),
        ("jax", block, jax("whole"), "jax, whole loop", 0.7 if one else None),
    ]
    if not one:  # one stream beside torch's modules is row 8
        modules = [rival_generation.MODULES]
        pairs += [("torch", ours, modules, "torch's modules", 1.4) for ours in (stepwise, block)]

    drawn = ", drawn" if sampling.top_k else ""
    for library, ours, others, label, floor in pairs:
        match = rival_generation.Match(library, ours, others, sampling)
        short = ours.removeprefix("session, ")
        yield Case(row, f"{short}{drawn} / {label}", shape, "speed", floor, match.measure)


def _training_beside(name: str) -> Iterator[Case]:
    bare = partial(rival_training.against_bare, name)
    jax = partial(rival_training.against_jax, name)
    yield Case(21, f"{name}, an update / bare loop", "M", "speed", 1.1, bare)
    yield Case(21, f"{name}, an update / the best of jax", "M", "speed", 1.5, jax)


OWN = (
    *("gated_delta", "gru", "indrnn", "ligru", "lru", "lstm", "mgu", "mingru"),
    *("minlstm", "mlstm", "qrnn", "rglru", "rnn", "slstm", "sru"),
)
"""The cells that come with recurra: each is measured beside a process that burns a core."""
CHOOSING = (*OWN, "peephole")
"""Cells whose choice of a path is measured."""


CASES: list[Case] = [
    *_against_torch(1, "gru", "GRU", {"D": 8, "S": 5, "M": 1.2, "L": 1.05}),
    *_against_torch(2, "rnn", "RNN", {"D": 5, "S": 3, "M": 1, "L": 1}),
    *_against_torch(3, "lstm", "LSTM", dict.fromkeys("DSML", 0.97)),
    Case(4, "custom cell / loop by hand", "D", "speed", 10, layers.against_loop),
    Case(4, "custom cell / loop by hand", "S", "speed", 4, layers.against_loop),
    Case(4, "custom cell / loop by hand", "M", "speed", 1.2, layers.against_loop),
    *(_custom_against_lstm(shape) for shape in "SML"),
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
        _layer_against_jax(name, shape, best=best)
        for name in rival_layers.FORMS
        for shape in "DSML"
        for best in (False, True)
    ),
    *(
        case
        for row, shapes in ((14, ("H128", "H512")), (15, ("256 H128", "256 H512")))
        for shape in shapes
        for sampling in (rival_generation.GREEDY, rival_generation.DRAWING)
        for case in _generation(row, shape, sampling)
    ),
    *(_task_beside_burner(name) for name in ("hello_lstm", "counting")),
    *(_window_beside_burner(name, shape) for name in OWN for shape in "DS"),
    *(_worst_choice(name, beside_burner=False) for name in CHOOSING),
    *(_worst_choice(name, beside_burner=True) for name in CHOOSING),
    Case(20, "run hello_lstm / import torch, an Adam", "", "time", 1.15, processes.run_of_a_task),
    Case(20, "check hello_lstm, beyond import torch", "", "s", 0.3, processes.check_of_a_task),
    *(case for name in ("lstm", "gru", "mingru") for case in _training_beside(name)),
]
"""The lines of the table, in order.

Of those in seconds, gigabytes or shares of a time the floor is a ceiling.
"""

ON_REQUEST = {16, 17}
"""Rows that take long, and are measured only where they are asked for."""
BESIDE_RIVALS = {13, 14, 15, 21}
"""Rows that are measured where another library is named, or where they are asked for."""


def chosen(rows: str | None, shapes: str | None, rivals: Rivals | None = None) -> list[Case]:
    """Return the cases of some rows, `1,4,7`, at some shapes, `D,S`; all where None.

    A case without such a shape is measured whatever the shapes are. The rows of `ON_REQUEST` are
    not among them unless they are named, nor those of `BESIDE_RIVALS` without a rival.

    Raises `InputError` (RC080) for a row or a shape that there is not, and where nothing is left.
    """
    all_rows = [str(number) for number in sorted({case.row for case in CASES})]
    named_rows = _parts("--rows", rows, all_rows)
    if rows is None:
        left_out = ON_REQUEST if rivals and rivals.pythons else ON_REQUEST | BESIDE_RIVALS
        named_rows = [row for row in all_rows if int(row) not in left_out]
    in_rows = [case for case in CASES if str(case.row) in named_rows]

    named_shapes = _parts("--shapes", shapes, list(SHAPES))
    cases = []
    for case in in_rows:
        has_shape = case.shape in SHAPES
        if not has_shape or case.shape in named_shapes:
            cases.append(case)

    if not cases:
        order = list(SHAPES)
        possible = sorted({case.shape for case in in_rows}, key=order.index)
        fact = f"rows {rows} are not measured at {shapes}"
        raise InputError.of("RC080", fact, allowed=f"--shapes {','.join(possible)}")
    return cases


def _parts(option: str, text: str | None, names: list[str]) -> list[str]:
    """Return the parts of a list with commas; all names where None. Raises `InputError` (RC080)."""
    if text is None:
        return names

    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if part not in names:
            fact = f"{option}: there is no {part!r}"
            allowed = f"{', '.join(names)}, with commas between"
            raise InputError.of("RC080", fact, got=text, allowed=allowed)
    return parts


def run(
    cases: list[Case],
    listener: Listener = lambda record: None,
    *,
    begun: Callable[[Machine], None] = lambda machine: None,
    pairs: int = 7,
    threads: int | None = None,
    rivals: Rivals | None = None,
) -> tuple[Machine, list[Record]]:
    """Measure cases one after the other, with so many threads of torch; its own number where None.

    `begun` is told first what machine it is. `rivals` have threads of their own.
    """
    with _threads(threads):
        machine = examined()
        begun(machine)

        setting = Setting(machine, pairs, rivals or Rivals())
        records = []
        for case in cases:
            record = measured(case, setting)
            records.append(record)
            listener(record)  # at once: the table comes only at the end
    return machine, records


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Set torch's threads, and put back what there was.

    Raises `InputError` (RC080) if there are far too many.
    """
    most = most_threads()
    if count and count > most:
        fact = f"--threads: this machine has {cores()} cores"
        fact += ", and so many threads would wait for each other"
        raise InputError.of("RC080", fact, got=str(count), allowed=f"1 to {most}")

    with using(count or torch.get_num_threads()):
        yield
