"""What using a component leaves as it is: the process around it, and the component itself.

These checks came in with version 1.1 of the suite.
"""

from __future__ import annotations

import gc
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.vocabulary import UnknownSymbol
from recurra.engine.paths import PATHS
from recurra.errors import InputError
from recurra.randomness import seeded
from recurra.testing import world
from recurra.testing.belongings import unchanged
from recurra.testing.calls import called, finest, named, precisions
from recurra.testing.check import Measured, check
from recurra.testing.hard_data import KNOWN, STRANGE
from recurra.testing.measure import EXACT, ROWS, gap, gaps, worst
from recurra.testing.subject import SEED, CellSubject, Subject
from recurra.testing.subjects import EncoderSubject, LossSubject, SourceSubject, VocabularySubject, demand

SINCE = "1.1"


@check("P09", "using it changes nothing around it", each=False, since=SINCE)
def used_quietly(subject: Subject) -> None:
    """Whatever it is asked to do, the process stays as it was: nothing is set, printed, opened or written.

    It is built, and each of its methods is called. Before and after are compared: the random
    numbers of torch, numpy and Python, torch's default type and device, its threads and modes, what
    numpy does about errors, filters of warnings, the environment, the current folder and what lies
    in it, `sys.path`, the locale, handlers of signals, logging, threads of Python that are alive,
    open files. All of these are everybody's: a default type that one component sets changes what
    the others compute, and `--json` is spoilt by what it prints. To mend it: give types and devices
    to what makes a tensor, use `np.errstate` and `with open(...)`, and put back what must be set.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(_empty_folder())
        said = io.StringIO()
        stack.enter_context(redirect_stdout(said))
        stack.enter_context(redirect_stderr(said))
        before, threads, files = world.read(), world.threads(), world.open_files()
        USES[subject.entry.component.kind](subject)
        gc.collect(0)
        changed = world.changes(before)
        demand(not changed, f"using it changes {', '.join(changed)}")
        written = sorted(path.name for path in folder.iterdir())
        demand(not written, f"using it writes {', '.join(written)} into the current folder")
        demand(not said.getvalue().strip(), f"using it prints {said.getvalue().strip()[:60]!r}")
        alive = sorted(thread.name for thread in world.threads() - threads)
        demand(not alive, f"using it leaves a thread running: {', '.join(alive)}")
        left = sorted(world.open_files() - files)
        demand(not left, f"using it leaves {', '.join(left)} open")


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


def _use_cell(subject: CellSubject) -> None:
    dtype = finest(subject)
    declared = [name for name, path in PATHS.items() if path.declared]  # what runs the component's own code
    for name in (name for name in declared if PATHS[name].refusal(subject.cell(dtype=dtype)) is None):
        cell = subject.cell(dtype=dtype, path=name)
        x = subject.x(2, 4, dtype=dtype).requires_grad_()
        y, state = called(cell, x, None)
        y_t, _ = cell.step(x[:, 0], state)
        _backward([y, y_t])


def _use_encoder(subject: EncoderSubject) -> None:
    for kind in subject.reads:
        encoder = subject.encoder()
        _backward([subject.run(encoder, subject.x(kind))[0]])
        with seeded(SEED, "dropout"):  # in training it may draw
            _backward([subject.run(encoder.train(), subject.x(kind))[0]])


def _use_loss(subject: LossSubject) -> None:
    for kind in subject.reads:
        loss = subject.loss()
        output, target = subject.pair(loss, kind)
        _backward([subject.run(loss, output.requires_grad_(), target)])
        subject.point(loss, output)
        with seeded(SEED, "dropout"):
            _backward([subject.run(loss.train(), output, target)])


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
    source.fingerprint(), source.features()
    for element in subject.offers:
        try:
            subject.pieces(source, element)
        except InputError:
            pass


USES: dict[str, Callable[[Any], None]] = {
    "cell": _use_cell,
    "encoder": _use_encoder,
    "loss": _use_loss,
    "vocabulary": _use_vocabulary,
    "source": _use_source,
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


@check("C36", "the default type does not count", "cell", since=SINCE)
def default_type(subject: CellSubject) -> Measured:
    """Under another default type of torch a cell gives the same, in float64 within 1e-12, to the bit in float32.

    `torch.tensor(0.3)` is of the default type: made in float32 and taken to float64 it is another
    number than made in float64, and a cell with such a constant computes something else in a
    program that works in float64. To mend it: keep constants as numbers of Python, or give
    `dtype=x.dtype` where a tensor is made.
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
    return worst(found)


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "without gradients": torch.no_grad,
    "in inference mode": torch.inference_mode,
    "with float64 as the default type": lambda: _default(torch.float64),
}
"""What may be around a call, and must not count."""


@check("E13", "used, it stays as it is", "encoder", firm=True, since=SINCE)
def encoder_stays(subject: EncoderSubject) -> Measured:
    """A call keeps nothing on the module, leaves earlier answers alone, and does not ask what is around it.

    Attributes, weights and buffers stay as they are, in training too; an answer that was given is
    not written on when the next one is made; without gradients, in inference mode and under another
    default type the vectors are the same within 1e-12. One buffer for all answers makes of each the
    last one, and two users of one network read each other's. To mend it: return new tensors, keep
    what lasts in a `StatefulEncoder`'s state, and give `dtype` where a tensor is made.
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
        found.append(Measured(gap(first, held, "a vector"), ROWS, f"{kind}, an answer, after another call"))
        typed = kind == "numbers" or next(encoder.parameters(), None) is not None
        for name, around in SURROUNDINGS.items():
            with around():
                y = subject.run(encoder, x)[0].detach().clone()
            y = y if typed else y.to(held.dtype)  # with no weights, the default type is that of the vectors
            found.append(Measured(gap(y, held, "a vector"), ROWS, f"{kind}, {name}"))
    return worst(found)


@check("L10", "used, it stays as it is", "loss", firm=True, since=SINCE)
def loss_stays(subject: LossSubject) -> Measured:
    """A call keeps nothing on the module, leaves earlier answers alone, and does not ask what is around it.

    Attributes and buffers stay as they are; losses that were given are not written on when the next
    ones are made; without gradients, in inference mode and under another default type they are the
    same within 1e-12. Validation measures without gradients what training minimises with them: a
    loss that looks for them reports another one. To mend it: compute the same whatever
    `torch.is_grad_enabled()` says, and return new tensors.
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
                    again = [value.detach().clone() for value in _losses(subject, loss, output.detach(), target)]
                found.append(Measured(gaps(again, held), ROWS, f"{kind}, {name}"))
    return worst(found)


def _losses(subject: LossSubject, loss: Any, output: Tensor, target: Tensor) -> list[Tensor]:
    """Return the losses of a stream of random numbers that is always the same, and the best guess."""
    with seeded(SEED, "dropout"):
        return [subject.run(loss, output, target), subject.point(loss, output)]
