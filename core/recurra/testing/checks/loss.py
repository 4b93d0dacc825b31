"""Checks of a loss: one number for each scored step, from that step alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.errors import InputError
from recurra.testing.answers import demand, through_json
from recurra.testing.check import Measured, check
from recurra.testing.measure import EXACT, ROWS, float32, gap, gaps, worst
from recurra.testing.slopes import SLOPE, slope_gap
from recurra.testing.subjects.loss import LossSubject
from recurra.testing.subjects.reader import SIZE, Reads
from recurra.testing.subjects.subject import SEED

FAR = 1e4
"""Outputs, and numbers in scaled units, at which a loss must still be finite in float32."""
DESCENT = 500
"""Updates in which the outputs themselves are taken to what the loss likes best."""
MANY, PART = 5000, 700
"""Steps of a large batch, more than that, and of the parts that it is compared with."""
LEFT = 0.1
"""Share of the distance to the target that may be left after the descent."""


def _both(subject: LossSubject) -> Iterator[tuple[Reads, Loss[Any]]]:
    """Give the loss for all that it reads, in training and in evaluation."""
    for kind in subject.reads:
        for training in (True, False):
            yield kind, subject.loss(training=training)


@check("L01", "one number for each step", "loss", firm=True)
def shapes(subject: LossSubject) -> None:
    """N outputs `[N, output_size]` and N targets give N losses of the outputs' type, for N = 1 and
    N = 0 too.

    The core takes the mean over all scored steps of an update, some of which may come from a batch
    that has none. A loss that reduces by itself makes that a mean of means, in which a short batch
    weighs as much as a long one. To mend it: `reduction="none"`, and a mean over a step's features
    alone.
    """
    for kind in subject.reads:
        for size, training in ((1, True), (SIZE, True), (SIZE, False)):
            loss = subject.loss(size, training=training)
            width = loss.output_size
            fact = f"output_size is {width!r}"
            demand(isinstance(width, int) and width > 0, fact)
            # One step, and none, must keep the axis.
            for steps in (7, 1, 0):
                output, target = subject.pair(loss, kind, steps)
                values = subject.run(loss, output, target)
                shape = list(values.shape)
                fact = f"{steps} steps give losses {shape}, not [{steps}]"
                demand(shape == [steps], fact)
                fact = f"outputs in {output.dtype} give losses in {values.dtype}"
                demand(values.dtype == output.dtype, fact)


@check("L02", "a step's loss is its own", "loss", firm=True)
def independence(subject: LossSubject) -> Measured:
    """The loss of a step alone is its loss among others, and d loss[i] / d output[j] is exactly 0
    for every j but i.

    The core calls the loss on the scored steps, and what stands beside one must not matter: a nan
    in another step reaches neither its loss nor its gradient, and the steps that are masked have a
    gradient of exactly 0. To mend it: no mean, norm or rank over the first axis; `where` in place
    of a product with 0.
    """
    findings = []
    for kind, loss in _both(subject):
        output, target = subject.pair(loss, kind)
        whole = subject.run(loss, output, target)
        alone = _alone(subject, loss, output, target, whole)
        value = gap(alone, whole, "a loss")
        findings.append(Measured(value, ROWS, f"{kind}, each step alone"))

        # 0 times nan is nan: a product with a mask does not keep it out.
        poisoned = output.clone()
        poisoned[0] = torch.nan
        values = subject.run(loss, poisoned, target)
        value = gap(values[1:], whole[1:], "a loss")
        findings.append(Measured(value, EXACT, f"{kind}, nan in another step"))
        value = _foreign(subject, loss, output, target)
        findings.append(Measured(value, EXACT, f"{kind}, gradients of other steps"))

        value = _in_parts(subject, loss, output, target)
        findings.append(Measured(value, ROWS, f"{kind}, thousands of steps"))
        value = _masked(subject, loss, kind)
        findings.append(Measured(value, EXACT, f"{kind}, gradients of masked steps"))
    return worst(findings)


def _alone(
    subject: LossSubject, loss: Loss[Any], output: Tensor, target: Tensor, whole: Tensor
) -> Tensor:
    """Return the losses of steps alone, in the shape of those of the `whole`."""
    values = []
    for step in range(len(output)):
        only = slice(step, step + 1)
        value = subject.run(loss, output[only], target[only])
        values.append(value.reshape(-1))
    return torch.cat(values).reshape(whole.shape)


def _in_parts(subject: LossSubject, loss: Loss[Any], output: Tensor, target: Tensor) -> float:
    """Return how the losses of thousands of steps differ from those of parts of them."""
    times = MANY // len(output) + 1
    outputs = output.repeat_interleave(times, dim=0)
    targets = target.repeat_interleave(times, dim=0)

    values = []
    parts = torch.split(outputs, PART), torch.split(targets, PART)
    for part, answers in zip(*parts, strict=True):
        values.append(subject.run(loss, part, answers))
    whole = subject.run(loss, outputs, targets)
    return gap(whole, torch.cat(values), "a loss")


def _foreign(subject: LossSubject, loss: Loss[Any], output: Tensor, target: Tensor) -> float:
    """Return the greatest gradient of a step's loss by another step's output."""
    leaf = output.clone().requires_grad_()
    values = subject.run(loss, leaf, target)
    greatest = 0.0
    for index, value in enumerate(values):
        (grad,) = torch.autograd.grad(value, leaf, retain_graph=True)
        grad[index] = 0
        greatest = max(greatest, _size(grad))
    return greatest


def _masked(subject: LossSubject, loss: Loss[Any], kind: Reads) -> float:
    """Return the greatest gradient of masked outputs, every one of them nan.

    The core picks the scored ones.
    """
    output, target = subject.pair(loss, kind, 12)
    mask = torch.arange(12) % 3 != 1
    output[~mask] = torch.nan
    leaf = output.clone().requires_grad_()
    values = subject.run(loss, leaf[mask], target[mask])
    (grad,) = torch.autograd.grad(values.sum(), leaf)
    finite = bool(torch.isfinite(grad).all())
    demand(finite, f"{kind}: nan in masked steps reaches the gradient")
    return _size(grad[~mask])


def _size(value: Tensor) -> float:
    """Return the greatest absolute value; nan is infinite, and nothing at all is 0."""
    if not value.numel():
        return 0.0
    sizes = value.abs().nan_to_num(nan=torch.inf)
    return float(sizes.max())


@check("L03", "gradients are slopes", "loss", firm=True)
def gradients(subject: LossSubject) -> Measured:
    """The gradient of the losses by the outputs is their slope along random directions in float64.

    A weight of a step that is computed from its output and detached, or a term that is, bends the
    gradient off the loss that is reported. To mend it: compute with the outputs themselves.
    """
    values = []
    for kind, loss in _both(subject):
        output, target = subject.pair(loss, kind)
        leaf = output.requires_grad_()
        function = partial(subject.run, loss, leaf, target)
        values.append(slope_gap(function, [leaf], subject.generator(2)))
    return Measured(max(values), SLOPE)


@check("L04", "the best guess has the width of what is predicted", "loss", firm=True)
def point_shapes(subject: LossSubject) -> Measured:
    """`point` takes outputs `[..., output_size]` to `[..., size]`, of the same type, each step by
    itself.

    Evaluation calls it on scored steps `[N, output_size]`, and others may call it on
    `[B, T, output_size]` or on a single step: what means the first axes by `[:, :size]` cuts time
    in place of features. To mend it: `[..., :size]`.
    """
    values = []
    for size in (1, SIZE):
        loss = subject.loss(size)
        # A single step, some, rows of some, and none.
        for shape in ((), (4,), (2, 3), (0,)):
            draw = subject.generator(3)
            output = torch.randn(*shape, loss.output_size, generator=draw, dtype=torch.float64)
            point = subject.point(loss, output.clone())

            expected = [*shape, size]
            fact = f"outputs {list(output.shape)} have point {list(point.shape)}"
            demand(list(point.shape) == expected, fact)
            fact = f"outputs in {output.dtype} have a point in {point.dtype}"
            demand(point.dtype == output.dtype, fact)

            flat = output.reshape(-1, loss.output_size)
            alone = [subject.point(loss, step.clone()) for step in flat]
            steps = torch.stack(alone) if alone else flat.new_zeros(0, size)
            values.append(gap(point.reshape(-1, size), steps, "a point"))
    return Measured(max(values), ROWS)


@check("L05", "the loss is least where the prediction is right", "loss", firm=True)
def minimum(subject: LossSubject) -> Measured:
    """Outputs that follow the gradient of the loss come to where `point` is the target, and no
    other output has less.

    The outputs themselves are optimised, so that this holds for a loss of a whole distribution too.
    Of symbols the likeliest must be the target; of numbers less than a tenth of the distance may be
    left. A loss with the wrong sign, or a `point` that is not what the loss draws to the target,
    trains a model whose figures are about something else. To mend it: let the loss grow with the
    error, and give in `point` what the outputs predict, in the targets' units.
    """
    findings = []
    for kind in subject.reads:
        loss = subject.loss()
        output, target = subject.pair(loss, kind)
        best = _descended(subject, loss, output, target)

        before = _distance(subject, loss, output, target, kind)
        after = _distance(subject, loss, best, target, kind)
        bound = LEFT if kind == "numbers" else EXACT
        what = f"{kind}, distance"
        share = after / max(before, 1e-30)
        findings.append(Measured(share, bound, what))

        least = subject.run(loss, best, target)
        excesses = []
        for salt in (0, 4, 5, 6):
            other, _ = subject.pair(loss, kind, salt=salt)
            above = least - subject.run(loss, other, target)
            excesses.append(float(above.max()))
        # A nan stays what it is, and breaks the law.
        excess = max(excesses)
        value = excess if math.isnan(excess) else max(excess, 0.0)
        findings.append(Measured(value, EXACT, f"{kind}, above other outputs"))
    return worst(findings)


def _descended(subject: LossSubject, loss: Loss[Any], output: Tensor, target: Tensor) -> Tensor:
    """Return the outputs after a descent with ever smaller steps."""
    leaf = output.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.1)
    for _ in range(DESCENT):
        values = subject.run(loss, leaf, target)
        (leaf.grad,) = torch.autograd.grad(values.sum(), leaf)
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.99
    return leaf.detach()


def _distance(
    subject: LossSubject, loss: Loss[Any], output: Tensor, target: Tensor, kind: Reads
) -> float:
    """Return the share of symbols that are not the target, or the mean distance of numbers."""
    point = subject.point(loss, output.clone())
    if kind == "symbols":
        wrong = point.argmax(dim=-1) != target
        return float(wrong.double().mean())
    distance = (point - target).abs()
    return float(distance.mean())


@check("L06", "finite for outputs that are far off", "loss")
def extremes(subject: LossSubject) -> None:
    """Outputs of 1e4, right or wrong, give finite losses and gradients in float32.

    -log(softmax(x)) is infinite as soon as a probability rounds to 0, and one such step ends the
    training. To mend it: `log_softmax`, `logsumexp`, `softplus`: the forms that subtract the
    greatest before they exponentiate.
    """
    for kind in subject.reads:
        loss = subject.loss(dtype=torch.float32)
        output, target = subject.pair(loss, kind, dtype=torch.float32)
        # The outputs of right symbols are great once, and small once.
        for scale in (FAR, -FAR):
            leaf = (output.sign() * scale).requires_grad_()
            values = subject.run(loss, leaf, target)
            (grad,) = torch.autograd.grad(values.sum(), leaf)

            what = f"{kind}: an output of {scale:g}"
            sound = bool(torch.isfinite(values).all())
            demand(sound, f"{what} has loss {values.max()}")
            sound = bool(torch.isfinite(grad).all())
            demand(sound, f"{what} has a gradient that is not finite")


@check("L07", "nothing is kept", "loss", firm=True)
def stateless(subject: LossSubject) -> Measured:
    """A loss has no parameters, keeps nothing of what it has seen, and draws no random number in
    evaluation.

    The optimizer is given the network's weights alone, and a checkpoint holds no others: what a
    loss learned would be lost on resume. To mend it: what is learned belongs to a cell or an
    encoder, what is known to the options, or of the answers to `prepare`.
    """
    values = []
    for kind, loss in _both(subject):
        weights = [name for name, _ in loss.named_parameters()]
        demand(not weights, f"it has parameters: {', '.join(weights)}")

        output, target = subject.pair(loss, kind)
        answers = []
        for salt in (2, 4):
            torch.manual_seed(SEED)
            stream = torch.get_rng_state()
            answers.append(subject.run(loss, output, target))
            drawn = not torch.equal(stream, torch.get_rng_state())
            demand(loss.training or not drawn, "random numbers are drawn in evaluation")
            # Between the two, it sees something else.
            subject.run(loss, *subject.pair(loss, kind, salt=salt))
        first, second = answers
        values.append(gap(second, first, "a loss"))
    return Measured(max(values), EXACT)


@check("L08", "types and devices", "loss")
def types(subject: LossSubject) -> Measured:
    """The loss in float32 is near that in float64, and outputs on the meta device give losses
    there.

    A constant made on the CPU inside `forward` meets tensors of a GPU, and torch refuses. To mend
    it: make it with `output.new_tensor`, or as a buffer with `persistent=False`.
    """
    findings = []
    for kind, loss in _both(subject):
        output, target = subject.pair(loss, kind)
        expected = subject.run(loss, output, target)

        answers = target if kind == "symbols" else target.float()
        narrow = subject.loss(dtype=torch.float32, training=loss.training)
        single = subject.run(narrow, output.float(), answers)
        value = gap(single.double(), expected, "a loss")
        what = f"{kind}, float32"
        findings.append(Measured(value, float32(SIZE), what))

        # On the meta device, a constant on the CPU is refused as a GPU would refuse it.
        meta = subject.run(loss.to("meta"), output.to("meta"), target.to("meta"))
        fact = f"outputs on the meta device give losses on {meta.device}"
        demand(meta.device.type == "meta", fact)
        point = subject.point(loss, output.to("meta"))
        demand(point.device.type == "meta", "point leaves the outputs' device")
    return worst(findings)


@check("L09", "outputs and targets are only read", "loss", firm=True)
def inputs(subject: LossSubject) -> Measured:
    """Neither `forward` nor `point` changes what it is given, and how that lies in memory makes no
    difference.

    Evaluation calls the loss and then `point` on the same outputs: a loss that subtracts the target
    in place turns every metric into one of errors. To mend it: no method that ends in `_`, and
    `reshape` in place of `view`.
    """
    values = []
    for kind, loss in _both(subject):
        output, target = subject.pair(loss, kind)
        expected = subject.run(loss, output, target)
        best = subject.point(loss, output.clone()).clone()

        # These very tensors, and not copies of them.
        outputs, targets = output.clone(), target.clone()
        values.append(gap(loss(output, target), expected, "a loss"))
        values.append(gap(subject.point(loss, output), best, "a point"))
        equal = torch.equal(output, outputs) and torch.equal(target, targets)
        written = output._version or target._version
        demand(equal and not written, f"{kind}: what is passed in is changed")

        spread, answers = _turned(outputs), _turned(targets)
        values.append(gap(loss(spread, answers), expected, "a loss"))
        values.append(gap(subject.point(loss, spread), best, "a point"))
    return Measured(max(values), ROWS)


def _turned(part: Tensor) -> Tensor:
    """Return equal numbers that lie column by column; of a vector, every second one of memory."""
    if part.dim() == 1:
        return part.repeat_interleave(2, dim=0)[::2]
    return part.t().contiguous().t()


@check("L11", "what it learned of the answers is saved", "loss", firm=True, since="1.1")
def learned(subject: LossSubject) -> Measured:
    """`save` gives plain JSON, and `restore` makes of it a loss that is equal in all, to the bit.

    `prepare` is called once, before training, and the run keeps what `save` gives beside its
    weights: without it a resumed run would train for something else, and an evaluation report it.
    Nothing of what was learned before may remain, and what the core passes in is only read. JSON
    makes text of integer keys, and lists of tuples: what is restored must not depend on either. To
    mend it: save all that `prepare` sets, and set every field in `restore`.
    """
    if "symbols" in subject.reads:
        _reads_alone(subject)
    values = []
    for kind, loss in _both(subject):
        output, target = subject.pair(loss, kind)
        expected = _given(subject, loss, output, target)
        table = through_json(loss.save())

        # One that is new, and one that has learned something else before.
        fresh = subject.unprepared(training=loss.training)
        used = subject.prepared(subject.unprepared(training=loss.training), salt=2)
        for again in (fresh, used):
            subject.restored(again, loss.save())
            answers = _given(subject, again, output, target)
            values.append(gaps(answers, expected, "what it gives"))
            demand(through_json(again.save()) == table, "what is restored saves something else")
    return Measured(max(values), EXACT)


def _reads_alone(subject: LossSubject) -> None:
    """Raise `Broken` if names or counts are changed."""
    names, counts = subject.answers(SIZE)
    old_names, old_counts = names.copy(), counts.copy()
    with suppress(InputError):
        subject.unprepared().prepare(names, counts)
    unchanged = names == old_names and bool((counts == old_counts).all())
    demand(unchanged, "prepare changes the names or counts that it is given")


def _given(subject: LossSubject, loss: Loss[Any], output: Tensor, target: Tensor) -> list[Tensor]:
    """Return the losses, with random numbers that are always the same, and the best guess."""
    torch.manual_seed(SEED)
    values = subject.run(loss, output, target).detach()
    return [values, subject.point(loss, output.clone())]
