"""How a network fares on sequences that are longer than those it was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.data.segments import Spans, grouped
from recurra.data.splits import Split
from recurra.drawing import Axis, Band, Line, Mark, Panel, Picture, Plot, Points, Rule, Table
from recurra.model.completion import completions
from recurra.reporting.stretches import part_of
from recurra.reporting.view import Left, View
from recurra.train.evaluate import answered

LONGEST = 4096
"""Steps that are read of a place, at most,"""
TIMES = 8
"""and as a multiple of what training reads."""
STEPS = 1 << 15
"""Steps of all places together."""
BINS = 24
SEQUENCES = 1500
"""Sequences that are answered."""
GROUPS = 8
"""Groups of sequences of about the same length."""

Numbers = NDArray[np.float64]


def picture(view: View) -> Picture:
    """Return figures by how much was read, or by the length of sequences. Raises `Left`."""
    target = view.run.resolved.target
    name, split = part_of(view)
    if split.whole or target.scope == "answer":
        return _by_length(view, name, split)
    return _by_steps(view, name, split)


def _trained(view: View) -> int:
    """Return the length of the longest sequence of training."""
    train = view.data().splits["train"]
    ends = np.where(train.high > train.low, train.high, train.begin)
    if train.uncut:
        # Without the answer behind it and its marks.
        ends = train.low - 1
    return int((ends - train.begin).max())


# steps that are answered each


def _by_steps(view: View, name: str, split: Split) -> Picture:
    """Return the loss by how many steps were read from a fresh state on."""
    run, task = view.run, view.run.task
    window = int(task.sequence.length)
    sequences = split.at_once or run.network.reads_both_ways
    trained = _trained(view) if sequences else window
    read, losses = [], []
    with run.predictor().within(), torch.no_grad():
        spans = _spans(split, min(LONGEST, TIMES * trained))
        for steps, values in _losses(view, spans):
            read.append(steps)
            losses.append(values)
    if not read:
        raise Left("the split holds no step that is answered")
    at, values = np.concatenate(read), np.concatenate(losses)
    edges = np.unique(np.geomspace(1, at.max() + 1, BINS + 1).round().astype(int))
    places = np.digitize(at, edges) - 1
    middle, mean, error, counts = [], [], [], []
    for index in range(len(edges) - 1):
        own = values[places == index]
        if len(own):
            middle.append(float(np.sqrt(edges[index] * (edges[index + 1] - 1))))
            mean.append(float(own.mean()))
            error.append(1.96 * float(own.std()) / len(own) ** 0.5)
            counts.append(len(own))
    x, y, off = np.array(middle), np.array(mean), np.array(error)
    if len(x) < 2:
        raise Left("its sequences have too few steps")
    what = "the longest sequence of training" if sequences else "a window of training"
    marks: list[Mark] = [Band("95 %", x, y - off, y + off, 0), Line("loss", x, y, 0)]
    if trained <= at.max():
        marks.append(Rule(f"{trained:,} steps, {what}", x=trained))
    plot = Plot(
        "Loss by steps read",
        Axis("steps read from a fresh state on", scale="log", whole=True),
        Axis("loss", run.resolved.parts["loss"].entry.component.name),
        marks,
        240,
        wide=True,
    )
    first, last = values[at <= trained], values[at > trained]
    rows: list[list[Any]] = [["up to that", len(first), float(first.mean())]]
    if len(last):
        rows.append(["beyond", len(last), float(last.mean())])
    table = Table(f"{trained:,} steps, {what}", ["steps read", "answers", "mean loss"], rows)
    caption = f"{len(at):,} answers of the {name} split, each after so many steps of its sequence."
    if task.sequence.carry:
        caption += " In training the state is carried from a window to the next, the gradient not."
    if not len(last):
        caption += " Nothing of the split is longer than what training reads."
    return Picture("lengths", "Longer than it was trained on", [plot, table], caption)


def _spans(split: Split, longest: int) -> Spans:
    """Return where reading begins, with the first answer, and where it ends."""
    own = split.at_once or bool((split.begin == split.low).all())
    start = split.begin if own or split.at_once else split.low
    high = split.high
    most = max(4, STEPS // longest)
    if len(start) > most:
        rows = np.linspace(0, len(start) - 1, most).round().astype(int)
        start, high = start[rows], high[rows]
    elif not split.at_once:
        each = -(-most // len(start))
        starts, ends = [], []
        for low, end in zip(start.tolist(), high.tolist(), strict=True):
            count = max(1, min(each, (end - low) // longest))
            for at in np.linspace(low, max(low, end - longest - 1), count).astype(int):
                starts.append(int(at))
                ends.append(end)
        start, high = np.array(starts), np.array(ends)
    stop = high if split.at_once else np.minimum(high, start + longest + split.reach)
    target = np.maximum(start + max(split.reach, 0), start)
    kept = stop > target
    return start[kept], target[kept], stop[kept], stop[kept]


def _losses(view: View, spans: Spans) -> Iterator[tuple[NDArray[np.int64], Numbers]]:
    """Give losses, each with how many steps had been read."""
    network = view.run.network
    for group in grouped(view.data().reader, spans, 32, 0 if network.reads_both_ways else 64):
        states, before = None, 0
        for batch in group:
            places = batch.mask.flatten().nonzero()[:, 0]
            batch = batch.to(network.device)
            hidden, states = network.hidden(
                batch.x, states, position=batch.position, lengths=batch.lengths
            )
            each = batch.mask[0, 0].numel()
            if len(places):
                losses = network.losses(
                    hidden, batch.y, places.to(network.device), batch.ahead(), batch.counted()
                )
                steps = places // each % batch.x.shape[1] + before + 1
                yield steps.numpy(), losses.double().cpu().numpy()
            before += batch.x.shape[1]


# sequences that are answered once


def _by_length(view: View, name: str, split: Split) -> Picture:
    """Return the figure of sequences by how long they are."""
    if len(split) > SEQUENCES:
        some = np.linspace(0, len(split) - 1, SEQUENCES).round().astype(int)
        split = replace(split, low=split.low[some], high=split.high[some], begin=split.begin[some])
    with view.run.predictor().within():
        if split.whole:
            lengths, values, figure = _whole(view, split)
        else:
            lengths, values, figure = _completed(view, split)
    if len(np.unique(lengths)) < 2:
        raise Left(f"all sequences of the {name} split have the same length")
    trained = _trained(view)
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, GROUPS + 1)).round().astype(int))
    # What is longer than all of training is a group of its own.
    if lengths.max() > trained > lengths.min():
        edges = np.unique(np.append(edges, trained + 1))
    places = np.clip(np.digitize(lengths, edges) - 1, 0, len(edges) - 2)
    middle, means, errors = [], [], []
    rows: list[list[Any]] = []
    for index in np.unique(places).tolist():
        own, of = values[places == index], lengths[places == index]
        middle.append(float(np.median(of)))
        means.append(float(own.mean()))
        errors.append(1.96 * float(own.std()) / len(own) ** 0.5)
        span = f"{of.min()} to {of.max()}" if of.max() > of.min() else f"{of.min()}"
        rows.append([span, len(own), means[-1]])
    share = figure.startswith("share")
    low, high = np.subtract(means, errors), np.add(means, errors)
    if share:
        low, high = low.clip(0), high.clip(max=1)
    marks: list[Mark] = [
        Band("95 %", middle, low, high, 0),
        Line(figure, middle, means, 0),
        Points("a group", middle, means, 0),
    ]
    if trained <= lengths.max():
        marks.append(Rule(f"{trained:,} steps, the longest of training", x=trained))
    axis = Axis(figure, low=0 if share else None, high=1 if share else None)
    panels: list[Panel] = [
        Plot(
            f"{figure.capitalize()} by length", Axis("steps of a sequence", whole=True), axis, marks
        ),
        Table("By length", ["steps", "sequences", figure], rows),
    ]
    caption = f"{len(lengths):,} sequences of the {name} split, in groups of about one length."
    longer = int((lengths > trained).sum())
    if longer:
        caption += f" {longer:,} are longer than any of training ({trained:,} steps)."
    else:
        caption += f" None is longer than the longest of training ({trained:,} steps)."
    return Picture("lengths", "Longer than it was trained on", panels, caption)


def _whole(view: View, split: Split) -> tuple[NDArray[np.int64], Numbers, str]:
    """Return lengths of sequences, and whether their classes are right, or their losses."""
    network = view.run.network
    lengths, values, figure = [], [], "loss"
    for batch, output in answered(network, view.data().reader, split):
        if batch.y.is_floating_point():
            own = network.scoring(output, batch.y)
        else:
            own, figure = network.point(output).argmax(dim=-1) == batch.y, "share that is right"
        lengths.append(batch.steps.cpu().numpy())
        values.append(own.double().cpu().numpy())
    if not lengths:
        raise Left("no sequence of the split can be answered")
    return np.concatenate(lengths), np.concatenate(values), figure


def _completed(view: View, split: Split) -> tuple[NDArray[np.int64], Numbers, str]:
    """Return lengths of sequences, and whether the whole answer is right."""
    data, marks = view.data(), view.run.answers.marks
    prompts, came = [], []
    for begin, low, high in zip(
        split.begin.tolist(), split.low.tolist(), split.high.tolist(), strict=True
    ):
        prompts.append(np.asarray(data.store.values[begin : low - 1], np.int64))
        came.append(np.asarray(data.store.values[low:high], np.int64))
    given = completions(view.run.network, prompts, marks, data.limit)
    right = [float(np.array_equal(one, two)) for one, two in zip(given, came, strict=True)]
    return np.array([len(p) for p in prompts]), np.array(right), "share that is right"
