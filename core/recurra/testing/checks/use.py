"""What using a component leaves as it is: the process around it, and the component itself.

These checks came in with version 1.1 of the suite.
"""

from __future__ import annotations

import gc
import getpass
import io
import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    closing,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from recurra.cache import cache_folder
from recurra.contracts.cell import Cell
from recurra.contracts.encoder import Encoder, StatefulEncoder
from recurra.contracts.loss import Loss
from recurra.contracts.source import Piece
from recurra.contracts.vocabulary import UnknownSymbol
from recurra.engine import build
from recurra.engine.paths import PATHS
from recurra.engine.threads import using
from recurra.errors import InputError
from recurra.randomness import seeded
from recurra.testing import leftovers, world
from recurra.testing.answers import demand
from recurra.testing.belongings import unchanged, written_on
from recurra.testing.calls import allowed, called, can, finest, named, precisions
from recurra.testing.check import Measured, check
from recurra.testing.checks.encoder.steps import prepared
from recurra.testing.checks.target.rules import asked
from recurra.testing.hard_data import KNOWN, STRANGE
from recurra.testing.measure import EXACT, ROWS, gap, gaps, worst
from recurra.testing.subjects.cell import WIDTH, CellSubject
from recurra.testing.subjects.encoder import EncoderSubject
from recurra.testing.subjects.loss import LossSubject
from recurra.testing.subjects.reader import SIZE
from recurra.testing.subjects.source import SourceSubject
from recurra.testing.subjects.subject import SEED, Subject
from recurra.testing.subjects.target import TargetSubject
from recurra.testing.subjects.vocabulary import VocabularySubject
from recurra.testing.traces import descriptors, left, written

SINCE = "1.1"
FIRST = 3
"""Pieces at which is asked what a source changes while it reads."""


@check("P09", "using it changes nothing around it", each=False, since=SINCE)
def used_quietly(subject: Subject[Any]) -> None:
    """Whatever it is asked to do, the process stays as it was: nothing is set, printed, opened or
    written.

    It is built, and each of its methods is called, of a module in training and in evaluation.
    Before and after are compared: the random numbers of torch, numpy and Python, torch's default
    type and device, its threads and modes, what numpy does about errors, how things are printed,
    filters of warnings, the environment, the current folder, `sys.path`, the locale, signals,
    timers, limits, logging, functions of torch and of Python, threads and processes that are alive,
    open files. It writes no file, wherever that lies, and nothing on its own options. All of these
    are everybody's: a default type that one component sets changes what the others compute, and
    `--json` is spoilt by what it prints. To mend it: give types and devices to what makes a tensor,
    use `np.errstate` and `with open(...)`, and put back what must be set.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(_empty_folder())
        said = io.StringIO()
        raw = stack.enter_context(descriptors())
        stack.enter_context(redirect_stdout(said))
        stack.enter_context(redirect_stderr(said))
        before, threads, files, children = (
            world.read(),
            leftovers.threads(),
            leftovers.open_files(),
            leftovers.processes(),
        )
        options = written_on(subject.options)
        with written() as paths:
            USES[subject.entry.component.kind](subject)
        gc.collect(0)
        changed = world.changes(before)
        demand(not changed, f"using it changes {', '.join(changed)}")
        demand(written_on(subject.options) == options, "using it writes on its options")
        _nothing_written(folder, paths)
        told = said.getvalue() + _told(raw)
        demand(not told.strip(), f"using it prints {told.strip()[:60]!r}")
        alive = sorted(thread.name for thread in leftovers.threads() - threads)
        demand(not alive, f"using it leaves a thread running: {', '.join(alive)}")
        demand(not leftovers.processes() - children, "using it leaves a process running")
        open_still = sorted(leftovers.open_files() - files)
        demand(not open_still, f"using it leaves {', '.join(open_still)} open")


def _nothing_written(folder: Path, paths: dict[str, bool]) -> None:
    """Raise `Broken` if something lies in the current folder, or was written where it concerns
    others.
    """
    beside = sorted(path.name for path in folder.iterdir())
    demand(not beside, f"using it writes {', '.join(beside)} into the current folder")
    elsewhere = left(paths, [folder, *_caches()])
    demand(not elsewhere, f"using it writes or touches {', '.join(elsewhere)[:200]}")


def _caches() -> list[Path]:
    """Return where recurra and torch keep what they compile, whoever it is for."""
    compiled = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}"
    found = [Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR", compiled))]
    with suppress(RuntimeError):  # a user without a home
        found += [cache_folder(), build.kernel_folder()]
    return found


def _told(file: IO[bytes]) -> str:
    """Return what was written to a file by way of its descriptor."""
    file.seek(0)
    return file.read().decode("utf-8", "replace")


@contextmanager
def _empty_folder() -> Iterator[Path]:
    """Make a new folder the current one for a while."""
    home = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(home)


def _seeds_nothing(use: Callable[[], object], what: str) -> None:
    """Raise `Broken` if, whatever torch's random numbers were before, they are the same ones
    afterwards.

    Such a use is lent numbers of its own, as the engine lends them: it may draw from them, and not
    seed them.
    """
    after = []
    for seed in (SEED, SEED + 1):
        with seeded(seed, "dropout"):
            use()
            after.append(torch.get_rng_state())
    demand(not torch.equal(*after), f"{what} seeds torch's random numbers")


def _use_cell(subject: CellSubject) -> None:
    _seeds_nothing(partial(subject.entry.target, WIDTH, subject.options), "building it")
    dtype = finest(subject)
    # What runs the component's own code.
    declared = [name for name, path in PATHS.items() if path.declared]
    for name in (
        name for name in declared if PATHS[name].refusal(subject.cell(dtype=dtype)) is None
    ):
        cell = subject.cell(dtype=dtype, path=name)
        _call_cell(subject, cell, dtype)
        _seeds_nothing(partial(_call_cell, subject, cell.train(), dtype), "a call in training")


def _call_cell(subject: CellSubject, cell: Cell[Any], dtype: torch.dtype) -> None:
    """Run a window and a step, forwards and backwards, and one with a new sequence in it."""
    x = subject.x(2, 4, dtype=dtype).requires_grad_()
    y, state = called(cell, x, None)
    y_t, _ = cell.step(x[:, 0], state)
    _backward([y, y_t])
    if can(subject, "resets"):
        called(cell, x.detach(), None, torch.tensor([[False] * 4, [False, True, False, False]]))


def _use_encoder(subject: EncoderSubject) -> None:
    _seeds_nothing(partial(subject.entry.target, SIZE, subject.options), "building it")
    for kind in subject.reads:
        encoder, x = subject.encoder(), subject.x(kind)
        _call_encoder(subject, encoder, x)
        # It may draw.
        _seeds_nothing(partial(_call_encoder, subject, encoder.train(), x), "a call in training")
        _seeds_nothing(partial(prepared, encoder), "prepare")


def _call_encoder(subject: EncoderSubject, encoder: Encoder[Any], x: Tensor) -> None:
    """Run a window forwards and backwards; with a state, at positions and with new sequences in it
    too.
    """
    _backward([subject.run(encoder, x)[0]])
    if isinstance(encoder, StatefulEncoder):
        reset = torch.zeros(x.shape[:2], dtype=torch.bool)
        reset[0, 2] = True
        subject.run(encoder, x, subject.fresh(encoder, x, torch.arange(len(x))), reset)


def _use_loss(subject: LossSubject) -> None:
    _seeds_nothing(partial(subject.entry.target, SIZE, subject.options), "building it")
    _seeds_nothing(partial(subject.prepared, subject.unprepared()), "prepare")
    subject.restored(subject.unprepared(), subject.loss().save())
    for kind in subject.reads:
        loss = subject.loss()
        output, target = subject.pair(loss, kind)
        _call_loss(subject, loss, output.requires_grad_(), target)
        _seeds_nothing(
            partial(_call_loss, subject, loss.train(), output, target), "a call in training"
        )


def _call_loss(subject: LossSubject, loss: Loss[Any], output: Tensor, target: Tensor) -> None:
    _backward([subject.run(loss, output, target)])
    subject.point(loss, output)


def _backward(values: list[Tensor]) -> None:
    total = torch.stack([value.sum() for value in values]).sum()
    if total.requires_grad:
        torch.autograd.backward(total)


def _use_vocabulary(subject: VocabularySubject) -> None:
    vocabulary, whole = subject.fitted()
    ids = subject.encoded(vocabulary, whole)
    vocabulary.decode(ids)
    for strange in STRANGE.get(subject.reads, ()):
        try:
            subject.encoded(vocabulary, strange)
        except (UnknownSymbol, ValueError):
            pass
    subject.restored(subject.vocabulary(), vocabulary.save())
    if subject.symbols and subject.reads != "numbers":
        typed = vocabulary.parse(subject.text(subject.vocabulary(KNOWN[subject.reads]), ids[:0]))
        demand(typed is not None, "parse gives nothing")
        stream = subject.stream(vocabulary)
        for index in ids[:9].tolist():
            vocabulary.symbol(index), stream(index)


def _use_source(subject: SourceSubject) -> None:
    source = subject.source()
    options = written_on(source.options)
    source.fingerprint(), source.features(), source.gaps()
    for element in subject.offers:
        try:
            _read(subject.reader(source, element))
        except InputError:
            pass
    source.gaps()
    demand(written_on(source.options) == options, "using it writes on its options")


def _read(pieces: Generator[Piece]) -> None:
    """Read to the end. Raises `Broken` if at one of the first pieces, while others go on, something
    is changed.
    """
    before = world.read()
    with closing(pieces):
        for index, _ in enumerate(pieces):
            changed = world.changes(before) if index < FIRST else []
            demand(not changed, f"while it reads, it changes {', '.join(changed)}")


def _use_target(subject: TargetSubject) -> None:
    _seeds_nothing(subject.target, "building it")
    for case in subject.cases():
        _seeds_nothing(partial(asked, subject, case), "asking it")


USES: dict[str, Callable[[Any], None]] = {
    "cell": _use_cell,
    "encoder": _use_encoder,
    "loss": _use_loss,
    "vocabulary": _use_vocabulary,
    "source": _use_source,
    "target": _use_target,
}
"""A use of everything that a component of each kind can do."""


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    """Make a type the default one for a while."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


@check("C36", "the default type and the threads do not count", "cell", since=SINCE)
def default_type(subject: CellSubject) -> Measured:
    """Under another default type of torch a cell gives the same, in float64 within 1e-12, to the
    bit in float32.

    `torch.tensor(0.3)` is of the default type: made in float32 and taken to float64 it is another
    number than made in float64, and a cell with such a constant computes something else in a
    program that works in float64. With two threads it gives what it gives with one, as near as
    rounding. To mend it: keep constants as numbers of Python, give `dtype=x.dtype` where a tensor
    is made, and ask for no threads.
    """
    found = []
    for dtype in precisions(subject):
        answers = []
        for usual in (torch.float32, torch.float64):
            cell, x = subject.cell(dtype=dtype), subject.x(2, 5, dtype=dtype)
            with _default(usual), torch.no_grad():
                y, after = called(cell, x, subject.fresh(cell, x))
                answers.append([y, *after])
        bound = ROWS if dtype == torch.float64 else EXACT
        kind = str(dtype).removeprefix("torch.")
        found.append(Measured(gaps(answers[1], answers[0]), bound, named(cell, kind)))
        with using(2), torch.no_grad():
            y, after = called(cell, x, subject.fresh(cell, x))
        bound = allowed(dtype, x.shape[1])
        found.append(
            Measured(gaps([y, *after], answers[1]), bound, named(cell, kind, "with two threads"))
        )
    return worst(found)


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "without gradients": torch.no_grad,
    "in inference mode": torch.inference_mode,
    "with float64 as the default type": lambda: _default(torch.float64),
    "with two threads": lambda: using(2),
}
"""What may be around a call, and must not count."""


@check("E13", "used, it stays as it is", "encoder", firm=True, since=SINCE)
def encoder_stays(subject: EncoderSubject) -> Measured:
    """A call keeps nothing on the module, leaves earlier answers alone, and does not ask what is
    around it.

    Attributes, weights and buffers stay as they are, in training too; an answer that was given is
    not written on when the next one is made; without gradients, in inference mode, with two threads
    and under another default type the vectors are the same within 1e-12. One buffer for all answers
    makes of each the last one, and two users of one network read each other's. To mend it: return
    new tensors, keep what lasts in a `StatefulEncoder`'s state, and give `dtype` where a tensor is
    made.
    """
    found = []
    for kind in subject.reads:
        encoder, x, other = subject.encoder(), subject.x(kind), subject.x(kind, salt=5)
        held = subject.run(encoder, x)[0].detach().clone()
        with torch.no_grad():
            first, _ = subject.run(encoder, x)
        for training in (True, False):
            encoder.train(training)
            with torch.set_grad_enabled(training):
                unchanged(encoder, partial(subject.run, encoder, other))
        found.append(
            Measured(gap(first, held, "a vector"), ROWS, f"{kind}, an answer, after another call")
        )
        typed = kind == "numbers" or next(encoder.parameters(), None) is not None
        for name, around in SURROUNDINGS.items():
            with around():
                y = subject.run(encoder, x)[0].detach().clone()
            # With no weights, the default type is that of the vectors.
            y = y if typed else y.to(held.dtype)
            found.append(Measured(gap(y, held, "a vector"), ROWS, f"{kind}, {name}"))
    return worst(found)


@check("L10", "used, it stays as it is", "loss", firm=True, since=SINCE)
def loss_stays(subject: LossSubject) -> Measured:
    """A call keeps nothing on the module, leaves earlier answers alone, and does not ask what is
    around it.

    Attributes and buffers stay as they are; losses that were given are not written on when the next
    ones are made; without gradients, in inference mode, with two threads and under another default
    type they are the same within 1e-12. Validation measures without gradients what training
    minimises with them: a loss that looks for them reports another one. To mend it: compute the
    same whatever `torch.is_grad_enabled()` says, and return new tensors.
    """
    found = []
    for kind in subject.reads:
        for training in (True, False):
            loss = subject.loss(training=training)
            output, target = subject.pair(loss, kind)
            other = subject.pair(loss, kind, salt=5)
            first = _losses(subject, loss, output.requires_grad_(), target)
            held = [value.detach().clone() for value in first]
            unchanged(loss, partial(_losses, subject, loss, *other))
            value = gaps([value.detach() for value in first], held)
            found.append(Measured(value, EXACT, f"{kind}, an answer, after another call"))
            for name, around in SURROUNDINGS.items():
                with around():
                    again = [
                        value.detach().clone()
                        for value in _losses(subject, loss, output.detach(), target)
                    ]
                found.append(Measured(gaps(again, held), ROWS, f"{kind}, {name}"))
    return worst(found)


def _losses(subject: LossSubject, loss: Any, output: Tensor, target: Tensor) -> list[Tensor]:
    """Return the losses of a stream of random numbers that is always the same, and the best
    guess.
    """
    with seeded(SEED, "dropout"):
        return [subject.run(loss, output, target), subject.point(loss, output)]
