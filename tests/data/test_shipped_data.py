"""The data of the shipped tasks: whole, well formed, and what their task files say of them."""

from __future__ import annotations

import csv
import gzip
import json
import math
import runpy
from collections import Counter
from datetime import date
from typing import Any

import numpy as np
from conftest import REPOSITORY

TASKS = REPOSITORY / "tasks"


def records(name: str) -> list[dict[str, Any]]:
    """Return the objects of a packed file of JSON lines."""
    text = gzip.decompress((TASKS / name).read_bytes()).decode("ascii")
    return [json.loads(line) for line in text.splitlines()]


def test_digits_are_images_and_their_pixels_in_order() -> None:
    """1,797 images of 8 by 8 numbers from 0 to 16; their pixels are the rows in a row."""
    images = records("digits.jsonl.gz")
    assert len(images) == 1797
    for image in images:
        assert image.keys() == {"digit", "rows", "pixels"}
        assert [len(row) for row in image["rows"]] == [8] * 8
        assert image["pixels"] == sum(image["rows"], [])
        assert all(type(pixel) is int and 0 <= pixel <= 16 for pixel in image["pixels"])

    counts = Counter(image["digit"] for image in images)
    assert sorted(counts) == list("0123456789")
    assert 174 <= min(counts.values()) and max(counts.values()) <= 183


def test_japanese_vowels_are_the_archives_utterances() -> None:
    """The archive's two folds, 30 utterances of each speaker in one, of 7 to 29 steps of 12."""
    utterances = records("japanese_vowels.jsonl.gz")
    counts = Counter((utterance["fold"], utterance["speaker"]) for utterance in utterances)
    for number, count in enumerate([31, 35, 88, 44, 29, 24, 40, 50, 29], 1):
        speaker = f"speaker {number}"
        assert (counts["train", speaker], counts["test", speaker]) == (30, count)
    assert sum(counts.values()) == 270 + 370

    lengths = [len(utterance["steps"]) for utterance in utterances]
    assert (min(lengths), max(lengths), sum(lengths)) == (7, 29, 9961)
    assert {len(step) for utterance in utterances for step in utterance["steps"]} == {12}


def test_m1_yearly_is_the_archives_panel() -> None:
    """181 series, year after year each, of 15 to 58 finite values, 4,515 in all."""
    text = gzip.decompress((TASKS / "m1_yearly.csv.gz").read_bytes()).decode("ascii")
    head, *rows = list(csv.reader(text.splitlines()))
    assert head == ["unique_id", "ds", "y"]
    series: dict[str, list[int]] = {}
    for name, day, value in rows:
        assert math.isfinite(float(value)) and day.endswith("-01-01")
        series.setdefault(name, []).append(int(day[:4]))
    assert list(series) == [f"T{number}" for number in range(1, 182)] and len(rows) == 4515
    lengths = [len(years) for years in series.values()]
    assert (min(lengths), max(lengths)) == (15, 58)
    assert all(np.diff(years).tolist() == [1] * (len(years) - 1) for years in series.values())

    archive = runpy.run_path(str(REPOSITORY / "benchmarks" / "make_m1_yearly.py"))["rows"]
    made = archive("@missing false\n@data\nT1:1972-01-01 00-00-00:3600,7700.5\n")
    assert list(made) == ["T1,1972-01-01,3600\n", "T1,1973-01-01,7700.5\n"]


def test_anomalies_are_planted_from_a_seed() -> None:
    """The script makes the file that is shipped: of eight series the last 480 steps have labels,
    and an event of each kind, apart from each other.
    """
    text = gzip.decompress((TASKS / "planted.csv.gz").read_bytes()).decode("ascii")
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "make_planted.py"))
    assert text == "".join(["unique_id,ds,y,label\n", *made["rows"]()])
    rows = list(csv.DictReader(text.splitlines()))
    for series in range(8):
        own = [row["label"] for row in rows if row["unique_id"] == f"s{series + 1}"]
        assert len(own) == 1440 and set(own[:960]) == {""} and set(own[960:]) == {"0", "1"}
        events = [event for event in "".join(own[960:]).split("0") if event]
        assert sorted(map(len, events)) == [1, 12, 12, 16, 24]


def test_sines_are_made_from_a_seed() -> None:
    """The script makes the file that is shipped; each phase is a point on the circle."""
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "make_sine_phase.py"))["lines"]()
    assert [json.loads(line) for line in made] == records("sine_phase.jsonl.gz")
    for sine in records("sine_phase.jsonl.gz"):
        cosine, height = map(float, sine["phase"].split())
        assert abs(cosine**2 + height**2 - 1) < 1e-3 and 16 <= len(sine["x"]) <= 48


def made(name: str) -> list[list[str]]:
    """Return the rows of a packed file of commas, which the script that makes it gives too."""
    lines = runpy.run_path(str(REPOSITORY / "benchmarks" / f"make_{name}.py"))["lines"]()
    text = gzip.decompress((TASKS / f"{name}.csv.gz").read_bytes()).decode("utf-8")
    assert "".join(lines) == text
    return list(csv.reader(text.splitlines()))[1:]


def test_dates_are_made_from_a_seed() -> None:
    """The script makes the file that is shipped; a day is in one split alone, in several forms."""
    folds: dict[str, set[str]] = {}
    for written, iso, fold in made("dates"):
        folds.setdefault(fold, set()).add(iso)
        assert date.fromisoformat(iso).isoformat() == iso != written
    assert {fold: len(days) for fold, days in folds.items()} == {
        "train": 4000, "validation": 200, "test": 400,
    }  # fmt: skip
    assert len(set.union(*folds.values())) == 4600


def test_strings_are_read_backwards() -> None:
    """The script makes the file that is shipped: 8,000 strings of 1 to 10 letters, each another."""
    rows = made("reverse")
    assert all(backwards == string[::-1] for string, backwards in rows)
    assert len({string for string, _ in rows}) == len(rows) == 8000
    assert {len(string) for string, _ in rows} == set(range(1, 11))


def test_sums_are_right() -> None:
    """The script makes the file that is shipped: 8,000 pairs of up to two digits, each another."""
    rows = made("addition")
    pairs = [tuple(map(int, asked.split("+"))) for asked, _ in rows]
    assert [str(sum(pair)) for pair in pairs] == [answer for _, answer in rows]
    assert len(set(pairs)) == len(rows) == 8000
    assert max(max(pair) for pair in pairs) == 99


def test_names_are_made_from_any_cpython() -> None:
    """The script makes the file that is shipped, whatever CPython's own version of Unicode is."""
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "make_script_of_names.py"))["text"]()
    assert made == (TASKS / "script_of_names.csv").read_text(encoding="ascii")


def test_a_name_has_one_script_and_does_not_tell_it() -> None:
    """No name stands twice, and none holds the word for a script."""
    text = (TASKS / "script_of_names.csv").read_text(encoding="ascii")
    rows = list(csv.reader(text.splitlines()))[1:]
    names, scripts = [row[0] for row in rows], {row[1] for row in rows}
    assert len(set(names)) == len(names) and len(scripts) == 13

    telling = scripts - {"yi"}  # which is a syllable too
    assert not [name for name in names if telling & set(name.split())]
