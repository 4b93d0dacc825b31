"""What using a component leaves as it is: the process around it, and the component itself.

These checks came in with version 1.1 of the suite.
"""

from __future__ import annotations

import gc
import getpass
import io
import os
import tempfile
import threading
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
from dataclasses import dataclass
from functools import partial
from importlib import import_module
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
from recurra.engine.eager import FEW
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
from recurra.testing.isolation import empty_folder
from recurra.testing.measure import EXACT, ROWS, gap, gaps, worst
from recurra.testing.subjects.cell import WIDTH, CellSubject
from recurra.testing.subjects.encoder import EncoderSubject
from recurra.testing.subjects.loss import LossSubject
from recurra.testing.subjects.reader import SIZE
from recurra.testing.subjects.source import SourceSubject
from recurra.testing.subjects.subject import SEED, Subject
from recurra.testing.subjects.target import TargetSubject
from recurra.testing.subjects.tracker import follow
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
    _import_needed(subject)
    with ExitStack() as stack:
        folder = stack.enter_context(empty_folder())
        printed = io.StringIO()
        raw = stack.enter_context(descriptors())
        stack.enter_context(redirect_stdout(printed))
        stack.enter_context(redirect_stderr(printed))
        before = world.read()
        alive = _Alive.now()
        options = written_on(subject.options)

        use = USES[subject.entry.component.kind]
        with written() as paths:
            use(subject)
        # What only waits to be collected is not left behind.
        gc.collect(0)

        changed = world.changes(before)
        demand(not changed, f"using it changes {', '.join(changed)}")
        demand(written_on(subject.options) == options, "using it writes on its options")
        _nothing_written(folder, paths)
        text = printed.getvalue() + _text_of(raw)
        text = text.strip()
        demand(not text, f"using it prints {text[:60]!r}")
        alive.demand_no_more()


def _import_needed(subject: Subject[Any]) -> None:
    """Import what a component says that it imports: what that changes is not its own."""
    for module in getattr(subject.entry.target, "requires", ()):
        with suppress(ImportError):
            import_module(module)


@dataclass(frozen=True)
class _Alive:
    """What of a process lives on by itself: threads, open files and other processes."""

    threads: set[threading.Thread]
    files: set[str]
    processes: set[int]

    @classmethod
    def now(cls) -> _Alive:
        """Return what there is now."""
        threads = leftovers.threads()
        files = leftovers.open_files()
        return cls(threads, files, leftovers.processes())

    def demand_no_more(self) -> None:
        """Raise `Broken` if there is more now."""
        threads = leftovers.threads() - self.threads
        names = sorted(thread.name for thread in threads)
        demand(not names, f"using it leaves a thread running: {', '.join(names)}")
        processes = leftovers.processes() - self.processes
        demand(not processes, "using it leaves a process running")
        folder, opened = build.kernel_folder(), leftovers.open_files() - self.files
        # Some systems list as open what recurra has compiled and loaded.
        files = sorted(file for file in opened if not Path(file).is_relative_to(folder))
        demand(not files, f"using it leaves {', '.join(files)} open")


def _nothing_written(folder: Path, paths: dict[str, bool]) -> None:
    """Raise `Broken` if something lies in the current folder, or was written elsewhere."""
    beside = sorted(path.name for path in folder.iterdir())
    demand(not beside, f"using it writes {', '.join(beside)} into the current folder")
    elsewhere = left(paths, [folder, *_caches()])
    fact = f"using it writes or touches {', '.join(elsewhere)[:200]}"
    demand(not elsewhere, fact)


def _caches() -> list[Path]:
    """Return where recurra and torch keep what they compile, whoever it is for."""
    usual = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}"
    folders = [Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR", usual))]
    # A user without a home has no cache.
    with suppress(RuntimeError):
        folders += [cache_folder(), build.kernel_folder()]
    return folders


def _text_of(file: IO[bytes]) -> str:
    """Return what was written to a file by way of its descriptor."""
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _seeds_nothing(use: Callable[[], object], what: str) -> None:
    """Raise `Broken` if torch's random numbers are the same afterwards, whatever they were.

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
    """Build it, and call it on each path that runs its own code."""
    _seeds_nothing(partial(subject.entry.target, WIDTH, subject.options), "building it")
    dtype = finest(subject)
    for name, path in PATHS.items():
        # Declared paths are those that run the component's own code.
        if not path.declared or path.refusal(subject.cell(dtype=dtype)) is not None:
            continue
        cell = subject.cell(dtype=dtype, path=name)
        _call_cell(subject, cell, dtype)
        cell.train()
        _seeds_nothing(partial(_call_cell, subject, cell, dtype), "a call in training")


def _call_cell(subject: CellSubject, cell: Cell[Any], dtype: torch.dtype) -> None:
    """Run a window and a step, forwards and backwards, and one with a new sequence in it."""
    x = subject.x(2, 4, dtype=dtype).requires_grad_()
    y, state = called(cell, x, None)
    y_t, _ = cell.step(x[:, 0], state)
    _backward([y, y_t])
    if can(subject, "resets"):
        reset = torch.zeros(2, 4, dtype=torch.bool)
        reset[1, 1] = True
        called(cell, x.detach(), None, reset)


def _use_encoder(subject: EncoderSubject) -> None:
    """Build, call and prepare it, for all that it reads."""
    _seeds_nothing(partial(subject.entry.target, SIZE, subject.options), "building it")
    for kind in subject.reads:
        encoder = subject.encoder()
        x = subject.x(kind)
        _call_encoder(subject, encoder, x)
        encoder.train()
        _seeds_nothing(partial(_call_encoder, subject, encoder, x), "a call in training")
        _seeds_nothing(partial(prepared, encoder), "prepare")


def _call_encoder(subject: EncoderSubject, encoder: Encoder[Any], x: Tensor) -> None:
    """Run a window forwards and backwards.

    With a state, one with positions and a new sequence in it is run too.
    """
    y, _ = subject.run(encoder, x)
    _backward([y])
    if isinstance(encoder, StatefulEncoder):
        reset = torch.zeros(x.shape[:2], dtype=torch.bool)
        reset[0, 2] = True
        start = subject.fresh(encoder, x, torch.arange(len(x)))
        subject.run(encoder, x, start, reset)


def _use_loss(subject: LossSubject) -> None:
    """Build, prepare, restore and call it, for all that it reads."""
    _seeds_nothing(partial(subject.entry.target, SIZE, subject.options), "building it")
    _seeds_nothing(partial(subject.prepared, subject.unprepared()), "prepare")
    subject.restored(subject.unprepared(), subject.loss().save())
    for kind in subject.reads:
        loss = subject.loss()
        output, target = subject.pair(loss, kind)
        output.requires_grad_()
        _call_loss(subject, loss, output, target)
        loss.train()
        _seeds_nothing(partial(_call_loss, subject, loss, output, target), "a call in training")


def _call_loss(subject: LossSubject, loss: Loss[Any], output: Tensor, target: Tensor) -> None:
    """Take the loss, forwards and backwards, and the best guess."""
    _backward([subject.run(loss, output, target)])
    subject.point(loss, output)


def _backward(values: list[Tensor]) -> None:
    """Go backward from the sum of all values, if they have a graph."""
    total = torch.stack([value.sum() for value in values]).sum()
    if total.requires_grad:
        torch.autograd.backward(total)


def _use_vocabulary(subject: VocabularySubject) -> None:
    """Fit, encode, decode, save, restore, parse and stream."""
    vocabulary, whole = subject.fitted()
    ids = subject.encoded(vocabulary, whole)
    vocabulary.decode(ids)
    for strange in STRANGE.get(subject.reads, ()):
        with suppress(UnknownSymbol, ValueError):
            subject.encoded(vocabulary, strange)
    subject.restored(subject.vocabulary(), vocabulary.save())
    if subject.symbols and subject.reads != "numbers":
        other = subject.vocabulary(KNOWN[subject.reads])
        typed = vocabulary.parse(subject.text(other, ids[:0]))
        demand(typed is not None, "parse gives nothing")
        stream = subject.stream(vocabulary)
        for index in ids[:9].tolist():
            vocabulary.symbol(index)
            stream(index)


def _use_source(subject: SourceSubject) -> None:
    """Ask it for all that it can say, and read all that it offers."""
    source = subject.source()
    options = written_on(source.options)
    source.fingerprint()
    source.features()
    source.gaps()
    for element in subject.offers:
        with suppress(InputError):
            _read(subject.reader(source, element))
    source.gaps()
    demand(written_on(source.options) == options, "using it writes on its options")


def _read(pieces: Generator[Piece]) -> None:
    """Read to the end. Raises `Broken` if something is changed while others go on.

    That is asked at each of the first pieces.
    """
    before = world.read()
    with closing(pieces):
        for index, _ in enumerate(pieces):
            changed = world.changes(before) if index < FIRST else []
            demand(not changed, f"while it reads, it changes {', '.join(changed)}")


def _use_target(subject: TargetSubject) -> None:
    """Build it, and ask it all that it can say."""
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
    "tracker": follow,
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
    findings = []
    for dtype in precisions(subject):
        kind = str(dtype).removeprefix("torch.")
        answers = []
        for usual in (torch.float32, torch.float64):
            cell = subject.cell(dtype=dtype)
            # So few that the engine leaves the threads as they are.
            x = subject.x(2, FEW - 1, dtype=dtype)
            with _default(usual), torch.no_grad():
                y, after = called(cell, x, subject.fresh(cell, x))
                answers.append([y, *after])
        # To the bit in float32: a constant of Python is rounded to it either way.
        in_single, in_double = answers
        bound = ROWS if dtype == torch.float64 else EXACT
        value = gaps(in_double, in_single)
        findings.append(Measured(value, bound, named(cell, kind)))

        with using(2), torch.no_grad():
            y, after = called(cell, x, subject.fresh(cell, x))
        bound = allowed(dtype, x.shape[1])
        value = gaps([y, *after], in_double)
        findings.append(Measured(value, bound, named(cell, kind, "with two threads")))
    return worst(findings)


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
    findings = []
    for kind in subject.reads:
        encoder = subject.encoder()
        x, other = subject.x(kind), subject.x(kind, salt=5)
        before = _vectors(subject, encoder, x)
        with torch.no_grad():
            first, _ = subject.run(encoder, x)
        for training in (True, False):
            encoder.train(training)
            with torch.set_grad_enabled(training):
                unchanged(encoder, partial(subject.run, encoder, other))
        value = gap(first, before, "a vector")
        findings.append(Measured(value, ROWS, f"{kind}, an answer, after another call"))

        typed = kind == "numbers" or next(encoder.parameters(), None) is not None
        for name, around in SURROUNDINGS.items():
            with around():
                y = _vectors(subject, encoder, x)
            # With no weights, the default type is that of the vectors.
            if not typed:
                y = y.to(before.dtype)
            value = gap(y, before, "a vector")
            what = f"{kind}, {name}"
            findings.append(Measured(value, ROWS, what))
    return worst(findings)


def _vectors(subject: EncoderSubject, encoder: Encoder[Any], x: Tensor) -> Tensor:
    """Return a copy of the vectors, without a graph."""
    y, _ = subject.run(encoder, x)
    return y.detach().clone()


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
    findings = []
    for kind in subject.reads:
        for training in (True, False):
            loss = subject.loss(training=training)
            output, target = subject.pair(loss, kind)
            other = subject.pair(loss, kind, salt=5)
            first = _losses(subject, loss, output.requires_grad_(), target)
            before = _copies(first)
            # Other steps are measured in between, which must not write on the first answer.
            unchanged(loss, partial(_losses, subject, loss, *other))
            value = gaps([answer.detach() for answer in first], before)
            findings.append(Measured(value, EXACT, f"{kind}, an answer, after another call"))

            for name, around in SURROUNDINGS.items():
                with around():
                    again = _copies(_losses(subject, loss, output.detach(), target))
                value = gaps(again, before)
                what = f"{kind}, {name}"
                findings.append(Measured(value, ROWS, what))
    return worst(findings)


def _losses(subject: LossSubject, loss: Loss[Any], output: Tensor, target: Tensor) -> list[Tensor]:
    """Return the losses, with random numbers that are always the same, and the best guess."""
    with seeded(SEED, "dropout"):
        return [subject.run(loss, output, target), subject.point(loss, output)]


def _copies(answers: list[Tensor]) -> list[Tensor]:
    """Return copies without a graph."""
    return [answer.detach().clone() for answer in answers]
