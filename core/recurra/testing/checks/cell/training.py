"""What becomes of a cell in use: long windows, cost, learning, and what is only reported."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.contracts.cell import Cell
from recurra.engine.onlooker import Onlooker
from recurra.randomness import seeded, torch_stream
from recurra.testing.calls import called, finest
from recurra.testing.check import CHECKS, Broken, Measured, NotApplicable, check
from recurra.testing.measure import EXACT, gap, worst
from recurra.testing.subjects.cell import WIDTH, CellSubject
from recurra.testing.subjects.subject import SEED

SINGLE = torch.float32
STEPS = 1000
LOUDEST, FAINTEST = 1e2, 1e-3
"""Bounds of the root mean square of outputs after many steps."""
STEEPEST = 1e6
"""Bound of a gradient over many steps, and of how much of it a long memory may lose."""
LAGS = (1, 10, 100, 1000)
LINEAR = 2.6
"""Bound of the work for twice as many steps, over the work."""
SAME = 1e-6
"""Bound in float32 with gradients and without: torch's products choose another order at times."""
HIDDEN = 32
"""Hidden size with which cells learn."""
RATE = 1e-2
SEEDS, NEEDED = 5, 2
LAG, SYMBOLS, RIGHT = 8, 4, 0.9
RECALL_UPDATES, BATCH = 300, 32
FIT_UPDATES, PAIRS, FALL = 200, 16, 0.1


@check("C27", "it stays within bounds", "cell", level="full")
def stays_bounded(subject: CellSubject) -> Measured:
    """Over 1,000 steps outputs and state stay finite, and outputs neither grow beyond 100 nor fade
    below 0.001.

    The inputs are N(0, 1), zero, 1 at every step, and N(0, 1) times 1,000; all must stay finite, in
    float32, and the root mean square of the outputs of the last 100 steps is measured on the first.
    A state that grows by a per cent a step is right in every short test and useless after a
    chapter. To mend it: keep the recurrent map's eigenvalues within the unit circle at the start,
    normalise what is summed without end, keep exponentials as logarithms.
    """
    cell = subject.cell(dtype=SINGLE)
    x = subject.x(4, STEPS, dtype=SINGLE)
    # Row 0 stays N(0, 1), and is the one that is measured.
    x[1] = 0.0
    x[2] = 1.0
    x[3] *= 1e3
    with torch.no_grad():
        y, state = called(cell, x, None)

    real = [tensor for tensor in (y, *state) if tensor.is_floating_point()]
    for row, what in enumerate(("N(0, 1)", "zeros", "ones", "N(0, 1) times 1,000")):
        for tensor in real:
            if not torch.isfinite(tensor[row]).all():
                raise Broken(f"after {STEPS:,} steps of {what} outputs or state are not finite")

    size = y[0, -100:].square().mean().sqrt().item()
    if size < FAINTEST:
        raise Broken(f"after {STEPS:,} steps of N(0, 1) the outputs have faded to {size:.1e}")
    return Measured(size, LOUDEST, f"root mean square of the outputs after {STEPS:,} steps")


@check("C28", "gradients reach back without exploding", "cell", level="full", each=False)
def gradients_reach_back(subject: CellSubject) -> Measured:
    """The gradient of the last output with respect to the input 1, 10, 100 and 1,000 steps before
    is at most 1e6.

    The four are reported: most cells begin with a memory of tens of steps, and that is no fault.
    One that claims `long_memory` must have at lag 1,000 a millionth of what it has at lag 1. A
    gradient that is not a number ends a training at the first update. To mend it: start recurrent
    weights smaller; guard square roots, divisions and logarithms at 0, before the operation and not
    by `torch.where` after it.
    """
    dtype = finest(subject)
    cell = subject.cell(dtype=dtype)
    x = subject.x(1, STEPS + 1, dtype=dtype).requires_grad_()
    y, _ = called(cell, x, None)
    weights = torch.randn(y.shape[-1], generator=subject.generator(1), dtype=y.dtype)
    total = (y[0, -1] * weights).sum()
    (grad,) = torch.autograd.grad(total, x)

    # The last output is that of step `STEPS`, counted from 0.
    sizes = {lag: grad[0, STEPS - lag].norm().item() for lag in LAGS}
    detail = ", ".join(f"{size:.1e} at lag {lag:,}" for lag, size in sizes.items())
    greatest = grad.abs().max().item()
    if math.isnan(greatest):
        greatest = math.inf
    findings = [Measured(greatest, STEEPEST, f"gradient {detail}")]

    if "long_memory" in subject.entry.component.claims:
        nearest, farthest = sizes[LAGS[0]], sizes[LAGS[-1]]
        share = nearest / farthest if farthest else math.inf
        findings.append(Measured(share, STEEPEST, f"it claims long_memory; gradient {detail}"))
    return worst(findings)


@check("C29", "its cost is linear in time", "cell", level="full", each=False)
def cost_is_linear(subject: CellSubject) -> Measured:
    """Twice as many steps cost at most 2.6 times as much on every path, and stepping for ever needs
    no more memory.

    Work is counted and not timed: torch's operations, and the bytes that they write, for 256 and
    for 512 steps, forward and backward to the weights. Then 2,000 steps without gradients are
    taken, and the tensors alive after them are no more than after 200. A form that compares every
    step with every other is attention; a loop that takes `gates[:, t]` of a whole window writes a
    gradient of the whole window for each step; a cell that keeps what it saw fills the memory of a
    service that generates day and night. To mend it: cut the window into chunks of fixed length,
    take steps by `unbind`, keep nothing on the module.
    """
    findings = []
    for path in subject.paths():
        cell = subject.cell(dtype=SINGLE, path=path)
        short = work(cell, subject.x(2, 256, dtype=SINGLE))
        long = work(cell, subject.x(2, 512, dtype=SINGLE))
        # Work that grows with the square of the steps is four times as much.
        where = f"path {path}"
        more = long.operations / short.operations
        findings.append(Measured(more, LINEAR, f"{where}, operations for twice as many steps"))
        more = long.bytes / short.bytes
        findings.append(Measured(more, LINEAR, f"{where}, bytes written for twice as many steps"))

    growth = _growth(subject)
    findings.append(Measured(growth, EXACT, "bytes kept for each of 1,800 steps"))
    return worst(findings)


class Work(NamedTuple):
    """How many operations a window takes, and how many bytes they write."""

    operations: int
    bytes: int


class _Counting(Onlooker):
    """Counts torch's operations and the bytes that they give."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and count it."""
        answer = function(*args, **(kwargs or {}))
        self.operations += 1
        parts = answer if isinstance(answer, list | tuple) else [answer]
        for part in parts:
            if isinstance(part, Tensor):
                self.bytes += part.numel() * part.element_size()
        return answer


def work(cell: Cell[Any], x: Tensor) -> Work:
    """Return the work of a window, forward and backward to the weights."""
    with _Counting() as count:
        y, _ = called(cell, x, None)
        total = y.sum()
        if total.requires_grad:
            torch.autograd.backward(total)
    return Work(count.operations, count.bytes)


def _growth(subject: CellSubject) -> float:
    """Return the bytes that tensors alive take more for each of 1,800 steps, after 200 of them."""
    cell = subject.cell(dtype=SINGLE)
    x = subject.x(2, 10, dtype=SINGLE)
    state = subject.fresh(cell, x)
    before = 0
    with torch.no_grad():
        for t in range(2000):
            if t == 200:
                before = bytes_alive()
            y, state = cell.step(x[:, t % 10], state)
            if any(value.requires_grad for value in (y, *state)):
                raise Broken(
                    "a step makes a graph where no gradients are wanted, and the graph grows with"
                    " every step"
                )
    return max(0, bytes_alive() - before) / 1800


def bytes_alive() -> int:
    """Return the bytes of all tensors that Python holds.

    Those of an export that is over may still be there, and hold no numbers: their sizes are
    symbols.
    """
    gc.collect()
    # By their type: asked for its class, an object may answer with another's.
    tensors = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]

    # Views of one storage count once.
    storages = [tensor.untyped_storage() for tensor in tensors]
    sizes = {storage._cdata: storage.nbytes() for storage in storages}
    return sum(size for size in sizes.values() if type(size) is int)


@check("C30", "it learns to remember", "cell", level="full", each=False)
def learns_to_remember(subject: CellSubject) -> Measured:
    """A symbol is shown, eight steps later it is asked for: two of five seeds learn to tell it, in
    300 updates.

    One of four symbols stands at the first step, a mark at the last one, nothing between; a linear
    head reads the last output. With 32 units, Adam at a rate of 0.01 and batches of 32, nine
    answers of ten are right within 120 updates for every usual cell; without a memory they are one
    of four. Equations can be right one by one and keep nothing: a gate that is the wrong way round,
    a state that is overwritten. To mend it: look where the state enters the next one.
    """
    wide = subject.wider(HIDDEN)
    wrong = []
    for seed in range(SEEDS):
        wrong.append(_recall(wide, seed))
        # As soon as enough seeds have learned, the others need not be tried.
        learned = [share for share in wrong if share <= 1 - RIGHT]
        if len(learned) == NEEDED:
            break

    by_seed = ", ".join(f"{1 - share:.0%}" for share in wrong)
    value = sorted(wrong)[NEEDED - 1]
    return Measured(value, 1 - RIGHT, f"right after training, seed by seed: {by_seed}")


def _recall(subject: CellSubject, seed: int) -> float:
    """Train on delayed recall until it is solved; return the share of wrong answers."""
    cell, head, optimizer = _trained(subject, SYMBOLS, seed)
    draw = torch_stream(seed, "recall")
    wrong = 1.0
    for update in range(1, RECALL_UPDATES + 1):
        # A symbol at the first step, and a mark at the last one.
        symbols = torch.randint(SYMBOLS, (BATCH,), generator=draw)
        x = torch.zeros(BATCH, LAG + 1, WIDTH)
        x[torch.arange(BATCH), 0, symbols] = 1.0
        x[:, -1, SYMBOLS] = 1.0

        y, _ = called(cell, x, None)
        answers = head(y[:, -1])
        _update(optimizer, functional.cross_entropy(answers, symbols))
        if update % 10 == 0:
            wrong = (answers.argmax(-1) != symbols).double().mean().item()
            if wrong <= 1 - RIGHT:
                break
    return wrong


@check("C31", "it can fit what it sees", "cell", level="full", each=False)
def fits(subject: CellSubject) -> Measured:
    """On 16 random windows with random targets the loss falls to a tenth within 200 updates.

    Windows of 6 steps, targets of 8 numbers, 32 units, a linear head on the last output, Adam at a
    rate of 0.01; every usual cell is there after 80 updates. Memorising a handful is the least that
    a model can do: where it cannot, a part of the output does not move, or a gradient is too small
    to matter. To mend it: see which parameters' gradients are far smaller than the others', and
    what squashes the output.
    """
    cell, head, optimizer = _trained(subject.wider(HIDDEN), 8, SEED)
    if next(cell.parameters(), None) is None:
        raise NotApplicable("it has no weights")
    draw = torch_stream(SEED, "pairs")
    x = torch.randn(PAIRS, 6, WIDTH, generator=draw)
    targets = torch.randn(PAIRS, 8, generator=draw)

    first = last = 0.0
    for update in range(1, FIT_UPDATES + 1):
        y, _ = called(cell, x, None)
        loss = functional.mse_loss(head(y[:, -1]), targets)
        _update(optimizer, loss)
        # The first loss, which is never 0: the targets are drawn at random.
        last = loss.item()
        first = first or last
        if last <= FALL * first:
            return Measured(last / first, FALL, f"of the first loss after {update} updates")
    return Measured(last / first, FALL, f"of the first loss after {FIT_UPDATES} updates")


def _trained(
    subject: CellSubject, outputs: int, seed: int
) -> tuple[Cell[Any], nn.Linear, torch.optim.Adam]:
    """Return a cell in training, a head on its outputs, and an optimizer of both."""
    with seeded(seed, "init"):
        cell: Cell[Any] = subject.entry.target(WIDTH, subject.options).train()
        head = nn.Linear(cell.output_size, outputs)
    cell.path = "eager"
    weights = [*cell.parameters(), *head.parameters()]
    return cell, head, torch.optim.Adam(weights, lr=RATE)


def _update(optimizer: torch.optim.Adam, loss: Tensor) -> None:
    """Take one step of training."""
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


@check("C32", "training and evaluation leave it as it is", "cell", level="full")
def modes_leave_it(subject: CellSubject) -> Measured:
    """From training to evaluation and back, with windows run in each, parameters and buffers are
    the same to the bit.

    So are the outputs of training before and after, from one seed; and on every path the outputs
    with gradients and without are equal within 1e-6. A cell that folds or constrains its weights in
    `eval()` or in `forward` is another model after each validation, and a checkpoint depends on
    when it was taken; statistics that a forward updates are a state outside of the state. To mend
    it: constrain in the constructor or by a parametrisation, and compute the same with gradients
    and without.
    """
    cell = subject.cell(dtype=SINGLE).train()
    x = subject.x(3, 9, dtype=SINGLE)
    before = {name: value.clone() for name, value in cell.state_dict().items()}
    first = _in_training(cell, x)

    # A cell that folds its weights in `eval()` does so here.
    cell.eval()
    findings = []
    for path in subject.paths():
        cell.path = path
        with torch.no_grad():
            bare, _ = called(cell, x, None)
        y, _ = called(cell, x, None)
        value = gap(bare, y.detach(), "the output")
        findings.append(Measured(value, SAME, f"path {path}, without gradients"))

    cell.train()
    cell.path = "eager"
    value = gap(_in_training(cell, x), first, "the output")
    findings.append(Measured(value, EXACT, "in training, before and after"))

    after = cell.state_dict()
    if after.keys() != before.keys():
        changed = sorted(after.keys() ^ before.keys())
        raise Broken(f"running it changes what it saves: {', '.join(changed)}")
    for name, old in before.items():
        value = gap(after[name], old, name)
        findings.append(Measured(value, EXACT, f"{name}, before and after"))
    return worst(findings)


def _in_training(cell: Cell[Any], x: Tensor) -> Tensor:
    """Return the outputs of a window, with random numbers that are always the same."""
    with seeded(SEED, "dropout"), torch.no_grad():
        y, _ = called(cell, x, None)
    return y


@check("R33", "speed", "cell", level="full", each=False)
def speed(subject: CellSubject) -> Measured:
    """Steps a second on the CPU, beside `torch.nn.GRU` with about as many parameters; reported,
    never a failure.

    Batches of 16 windows of 64 steps, 64 inputs, 64 units, in one thread, on the first path that
    the cell declares; the best of three. The value is how many times slower than `nn.GRU` training
    is. The report says when that is more than 20 times. What helps: fewer and larger operations, a
    `scan`, a `chunkwise` form, or a map to torch's own kernel.
    """
    wide = subject.wider(64)
    path = subject.paths()[0]
    cell = wide.cell(64, SINGLE, path)
    x = subject.x(16, 64, 64, SINGLE)

    # A GRU of h units has 3 h^2 + 198 h weights here: h is the root for as many as the cell has.
    count = sum(weight.numel() for weight in cell.parameters())
    hidden = max(1, round(((198**2 + 12 * count) ** 0.5 - 198) / 6))
    own = _speeds(cell, x)
    gru = _speeds(nn.GRU(64, hidden, batch_first=True), x)

    slower = gru.both / own.both
    detail = (
        f"path {path}: {own.forward:,.0f} steps/s forward, {own.both:,.0f} with backward;"
        f" nn.GRU({hidden}): {gru.both:,.0f}"
    )
    if slower > 20:
        detail += "; more than 20 times slower"
    return Measured(slower, None, detail)


class Speeds(NamedTuple):
    """Steps a second, all rows together.

    Those of `forward` are taken without gradients, those of `both` go forward and backward.
    """

    forward: float
    both: float


def _speeds(module: nn.Module, x: Tensor) -> Speeds:
    """Return how fast a module takes a window."""
    steps = x.shape[0] * x.shape[1]

    def forward() -> None:
        with torch.no_grad():
            module(x)

    def both() -> None:
        y, _ = module(x)
        total = y.sum()
        if total.requires_grad:
            torch.autograd.backward(total)

    return Speeds(steps / _best(forward), steps / _best(both))


def _best(function: Callable[[], None]) -> float:
    """Return the seconds of the best of three calls, after one to warm up."""
    function()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@check("R34", "margin", "cell", level="full", each=False)
def margin(subject: CellSubject) -> Measured:
    """How much of their bounds C02, C03 and C05 use, at worst; reported, never a failure.

    1 is all of it. Rounding uses a ten-thousandth: a margin that grows from version to version
    tells of an error that is on its way, before any check fails.
    """
    margins = []
    details = []
    for name in ("C02", "C03", "C05"):
        try:
            measured = CHECKS[name].measure(subject)
        # What fails is told by its own check.
        except Exception as error:
            margins.append(0.0)
            details.append(f"{name} none ({type(error).__name__})")
        else:
            margin = measured.margin if measured else 0.0
            margins.append(margin)
            details.append(f"{name} {margin:.1e}")
    return Measured(max(margins), None, ", ".join(details))
