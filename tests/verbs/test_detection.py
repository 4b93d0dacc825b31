"""Precision, recall and average precision of flagged steps, each beside a count by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.job.detection import Detection, average_precision, runs

STEP = st.tuples(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, math.nan]), st.integers(-1, 1))
SERIES = st.lists(st.lists(STEP, max_size=14), max_size=4)


def detected(series):
    """Return the figures of series of margins and labels."""
    detection = Detection()
    for steps in series:
        margins = np.array([margin for margin, _ in steps], float)
        detection.add(margins, np.array([label for _, label in steps], np.int8))
    return detection.figures()


def runs_of(flags):
    """Return the runs of flags that are set as sets of places, found by walking along."""
    found, open_run = [], []
    for at, flag in enumerate([*flags, False]):
        if flag:
            open_run.append(at)
        elif open_run:
            found.append(set(open_run))
            open_run = []
    return found


@given(SERIES)
def test_figures_are_those_of_counting_by_hand(series):
    """By step over all that have a label; by event over runs; a step without a score is missed."""
    steps = [step for each in series for step in each if step[1] >= 0]
    flagged = [margin > 0 for margin, _ in steps]
    hits = sum(flag and label for flag, (_, label) in zip(flagged, steps, strict=True))
    positives = sum(label for _, label in steps)
    figures = detected(series)
    assert figures["steps"] == len(steps) and figures["anomalous"] == positives
    assert figures["flagged"] == sum(flagged)
    assert figures["unscored"] == sum(math.isnan(margin) for margin, _ in steps)
    assert figures["precision"] == (hits / sum(flagged) if any(flagged) else None)
    assert figures["recall"] == (hits / positives if positives else None)
    if hits:
        precision, recall = figures["precision"], figures["recall"]
        assert figures["f1"] == pytest.approx(2 / (1 / precision + 1 / recall))

    events, alarms, found, right = 0, 0, 0, 0
    for each in series:
        flags = {at for at, (margin, label) in enumerate(each) if margin > 0 and label >= 0}
        marked = {at for at, (_, label) in enumerate(each) if label == 1}
        for event in runs_of([at in marked for at in range(len(each))]):
            events, found = events + 1, found + bool(event & flags)
        for alarm in runs_of([at in flags for at in range(len(each))]):
            alarms, right = alarms + 1, right + bool(alarm & marked)
    assert (figures["events"], figures["events_found"]) == (events, found)
    assert (figures["alarms"], figures["alarms_right"]) == (alarms, right)
    assert figures["event_recall"] == (found / events if events else None)
    assert figures["event_precision"] == (right / alarms if alarms else None)


@given(SERIES)
def test_average_precision_is_the_sum_over_all_thresholds(series):
    """Precision at each threshold from the highest down, times what recall gains there."""
    steps = [(margin, label) for each in series for margin, label in each if label >= 0]
    scores = [-math.inf if math.isnan(margin) else margin for margin, _ in steps]
    positives = sum(label for _, label in steps)
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = [label for score, (_, label) in zip(scores, steps, strict=True)
                 if score >= threshold]  # fmt: skip
        recall = sum(taken) / positives if positives else 0.0
        total += (recall - before) * sum(taken) / len(taken)
        before = recall
    figure = detected(series)["average_precision"]
    assert figure == (pytest.approx(total) if positives else None)


@given(st.lists(st.booleans(), max_size=20))
def test_runs_are_found_as_they_stand(flags):
    """Each as long as it can be."""
    found = [set(range(low, high)) for low, high in runs(np.array(flags, np.bool_))]
    assert found == runs_of(flags)


def test_a_score_at_random_has_the_average_precision_of_chance():
    """And no more recall for being near an anomaly: nothing is adjusted."""
    random = np.random.default_rng(0)
    labels = (np.arange(40000) // 100 % 10 == 0).astype(np.int8)
    scores = random.normal(size=40000)
    assert average_precision(scores, labels == 1) == pytest.approx(0.1, abs=0.01)
    detection = Detection()
    detection.add(scores - 1.645, labels)
    figures = detection.figures()
    assert figures["recall"] == pytest.approx(0.05, abs=0.012)
    assert figures["precision"] == pytest.approx(figures["chance"], abs=0.02)
    assert figures["event_recall"] > 0.95 and figures["event_precision"] < 0.15
