"""How a network fares by itself, where it reads its own answers, and corrected by what came."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.data.splits import Split
from recurra.drawing import Axis, Band, Line, Mark, Picture, Plot
from recurra.generate.abreast import Start, forecasts
from recurra.model.completion import completions
from recurra.model.network import Network, States
from recurra.reporting.stretches import part_of
from recurra.reporting.view import Left, View

PLACES = 64
"""Places from which a network goes on by itself."""
SERIES = 16
"""Of series."""
PROMPT = 256
"""Steps that are read before, at most."""
SYMBOLS = 48
"""Symbols that are then foreseen."""
HORIZON = 24
"""Numbers that are, where the task does not say how many."""
BESIDE = 16
"""Prompts that are read side by side: a page takes little memory."""

Truths = NDArray[np.float64]


class Fared(NamedTuple):
    """What is right, or how wrong, at each of H steps from N places, `[N, H]`: in three ways.

    It is nan where nothing came. `plain` is that of the simplest rule, if there is one.
    """

    free: Truths
    corrected: Truths
    plain: Truths | None = None


def picture(view: View) -> Picture:
    """Return a figure by step for a network by itself, and for one that is corrected at each.

    Raises `Left` for a run whose answers are not read on.
    """
    run = view.run
    target, network = run.resolved.target, run.network.eval()
    name, split = part_of(view)
    if target.scope == "answer":
        with run.predictor().within():
            fared = _answers(view, split)
        return _drawn(fared, name, "symbol of the answer", "share that is right", "answer")
    if not target.generates:
        raise Left("its answers are not read on, so it never runs by itself")
    data = view.data()
    if data.store.values.ndim > 1:
        with run.predictor().within():
            fared, unit = _numbers(view, split)
        return _drawn(fared, name, "steps ahead", "mean absolute error", "place", unit)
    with run.predictor().within(), torch.no_grad():
        fared = _symbols(view, network, split)
    return _drawn(fared, name, "symbols after the prompt", "share that is right", "place")


def _drawn(
    fared: Fared, split: str, steps: str, figure: str, places: str, unit: str = ""
) -> Picture:
    """Return both curves, with how sure each is."""
    shares = fared.plain is None
    marks: list[Mark] = []
    lines: list[Mark] = []
    curves = [("by itself", fared.free, 0), ("corrected by what came", fared.corrected, 1)]
    x = np.arange(1, fared.free.shape[1] + 1)
    for name, values, color in curves:
        mean, error = _mean(values)
        # Of one place nobody knows how sure it is.
        if np.isfinite(error).any():
            low, high = (mean - error).clip(0), mean + error
            high = high.clip(max=1) if shares else high
            marks.append(Band(f"{name}, 95 %", x, low, high, color))
        lines.append(Line(name, x, mean, color))
    if fared.plain is not None:
        lines.append(Line("as the last that was known", x, _mean(fared.plain)[0], "faint"))
    y = Axis(figure, unit, low=0, high=1.0 if shares else None)
    plot = Plot("By step", Axis(steps, whole=True), y, [*marks, *lines], 240, wide=True)
    count = int(np.isfinite(fared.free).any(axis=1).sum())
    counted = f"{count:,} {places}" + ("s" if count != 1 else "")
    caption = (
        f"Mean of {counted} of the {split} split. By itself a network reads what it has said;"
        " corrected, it reads what came, as in training. How far they part is what its own mistakes"
        " cost."
    )
    return Picture("free-running", "By itself, and corrected", [plot], caption)


def _mean(values: Truths) -> tuple[Truths, Truths]:
    """Return means over places, and how far they may be off: 1.96 standard errors."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    sums = np.where(known, values, 0).sum(axis=0)
    mean = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
    squares = np.where(known, (values - mean) ** 2, 0).sum(axis=0)
    error = np.sqrt(squares / np.maximum(count - 1, 1) / np.maximum(count, 1))
    return mean, np.where(count > 1, 1.96 * error, np.nan)


def _origins(split: Split, most: int, steps: int) -> list[tuple[int, int, int]]:
    """Return up to `most` places of a split that something comes before and after.

    Each is where its sequence begins, where what comes is foreseen, and where its span ends.
    """
    first = np.maximum(split.low, split.begin + 2)
    room = np.maximum(split.high - first, 0)
    spans = np.flatnonzero(room > 0)
    if len(spans) >= most:
        spans = spans[np.linspace(0, len(spans) - 1, most).round().astype(int)]
        each = 1
    else:
        each = -(-most // max(1, len(spans)))
    places = []
    for span in spans.tolist():
        low, high = int(first[span]), int(split.high[span])
        if low == int(split.begin[span]) + 2 and high - low > 4:
            # A sequence of its own goes on from its midst.
            low += (high - low) // 2
        last = max(low, high - steps)
        for at in sorted({round(place) for place in np.linspace(low, last, each)}):
            places.append((int(split.begin[span]), at, high))
    return places[:most]


def _symbols(view: View, network: Network, split: Split) -> Fared:
    """Return whether symbols are right, of the likeliest that are read on and of those that came.

    The places have prompts of one length, and so many symbols behind it.
    """
    data = view.data()
    places = [
        (begin, at, high)
        for begin, at, high in _origins(split, PLACES, SYMBOLS)
        if high - at >= 2 and at > begin
    ]
    if not places:
        raise Left("the split holds too few symbols in a row")
    steps = int(min(SYMBOLS, np.median([high - at for _, at, high in places])))
    places = [place for place in places if place[2] - place[1] >= steps]
    prompt = int(min(PROMPT, np.median([at - begin for begin, at, _ in places])))
    places = [place for place in places if place[1] - place[0] >= prompt]
    first = np.array([at - prompt for _, at, _ in places])
    count = np.full(len(first), prompt + steps)
    free, corrected = [], []
    for at in range(0, len(first), BESIDE):
        some = slice(at, at + BESIDE)
        own, size = first[some], count[some]
        batch = data.reader.cut(own, size, own, own + size).to(network.device)
        output, _ = network(batch.x[:, :-1], position=batch.position)
        came = batch.x[:, prompt:]
        corrected.append(_right(network.point(output)[:, prompt - 1 :].argmax(dim=-1) == came))
        output, states = network(batch.x[:, :prompt], position=batch.position, last=True)
        free.append(_right(_free(network, output, states, steps) == came))
    return Fared(np.concatenate(free), np.concatenate(corrected))


def _free(network: Network, output: Tensor, states: States, steps: int) -> Tensor:
    """Return the likeliest symbols `[N, H]` after an output `[N, 1, V]`, each of which is read."""
    given = []
    for step in range(steps):
        ids = network.point(output)[:, -1].argmax(dim=-1)
        given.append(ids)
        if step + 1 < steps:
            output, states = network(ids[:, None], states)
    return torch.stack(given, dim=1)


def _right(flags: Tensor) -> Truths:
    right: Truths = flags.double().cpu().numpy()
    return right


def _numbers(view: View, split: Split) -> tuple[Fared, str]:
    """Return absolute errors of series, and their unit where it is not that of the data."""
    run, data = view.run, view.data()
    asked = run.task.generation.length
    steps = asked or HORIZON
    if run.outlook is not None:
        steps = min(steps, run.outlook.steps)
    places = _origins(split, SERIES, steps)
    if not places:
        raise Left("the split holds too few numbers in a row")
    free = np.full((len(places), steps), np.nan)
    corrected, plain = free.copy(), free.copy()
    width = data.store.values.shape[1]
    truths = [np.asarray(data.store.values[at : min(high, at + steps)]) for _, at, high in places]
    scale = np.ones(width)
    if width > 1:
        spread = np.nanstd(np.concatenate(truths), axis=0)
        scale = np.where(spread > 0, spread, 1.0)

    def said(starts: list[Start], count: int) -> list[NDArray[Any]]:
        given = forecasts(run.network, run.vocabulary, starts, count, run.outlook, run.covariates)
        return list(given)

    whole = said([_start(data, begin, at, 0, steps) for begin, at, _ in places], steps)
    for row, ((begin, at, _), came) in enumerate(zip(places, truths, strict=True)):
        n = len(came)
        starts = [_start(data, begin, at, k, steps) for k in range(n)]
        last = np.asarray(data.store.values[at - 1])
        step_by_step = np.stack([each[0] for each in said(starts, 1)])
        free[row, :n] = _off(whole[row][:n], came, scale)
        corrected[row, :n] = _off(step_by_step, came, scale)
        plain[row, :n] = _off(np.broadcast_to(last, came.shape), came, scale)
    return Fared(free, corrected, plain), "standard deviations" if width > 1 else ""


def _start(data: Any, begin: int, at: int, further: int, steps: int) -> Start:
    """Return what is known of a series some steps after a place of it."""
    first = max(begin, at - PROMPT)
    companions, beside = data.reader.companions, None
    if companions is not None:
        beside = companions.stretch(first, at + further, at + further + steps)
    values = np.asarray(data.store.values[first : at + further])
    return Start(values, first - begin, np.asarray(data.store.values[begin:at]), beside)


def _off(said: NDArray[Any], came: NDArray[Any], scale: NDArray[Any]) -> Truths:
    off: Truths = (np.abs(said - came) / scale).mean(axis=1)
    return off


def _answers(view: View, split: Split) -> Fared:
    """Return whether each symbol of an answer, and the mark of its end, is right."""
    run, data = view.run, view.data()
    marks = run.answers.marks
    rows = np.linspace(0, len(split) - 1, min(4 * PLACES, len(split))).round().astype(int)
    low, high, begin = split.low[rows], split.high[rows], split.begin[rows]
    prompts, came = [], []
    for one, two, three in zip(begin.tolist(), low.tolist(), high.tolist(), strict=True):
        prompts.append(np.asarray(data.store.values[one : two - 1], np.int64))
        came.append(np.asarray(data.store.values[two:three], np.int64))
    network = run.network
    given = completions(network, prompts, marks, max(map(len, came)))
    longest = max(map(len, came))
    free = np.full((len(came), longest), np.nan)
    corrected = free.copy()
    with torch.no_grad():
        for row, (prompt, answer, own) in enumerate(zip(prompts, came, given, strict=True)):
            read = np.concatenate([prompt, [marks.begin], answer[:-1]])
            output, _ = network(torch.from_numpy(read)[None].to(network.device))
            likeliest = network.point(output)[0, len(prompt) :].argmax(dim=-1).cpu().numpy()
            corrected[row, : len(answer)] = likeliest == answer
            padded = np.full(len(answer), -1)
            padded[: min(len(own), len(answer))] = own[: len(answer)]
            free[row, : len(answer)] = padded == answer
    return Fared(free, corrected)
