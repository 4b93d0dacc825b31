"""A process that takes turns with recurra: it is asked in lines of JSON, and answers each with one.

`{"begin": NAME, "case": {...}, "arrays": FILE}` prepares something to be timed from the arrays of
an npz file, and warms it up. `{"answer": NAME, "into": FILE}` writes what it computes, to be
compared before anything is timed. `{"time": NAME, "count": N}` lets it have N turns, and gives the
seconds of a turn by the clock and by the processor. Whatever goes wrong is told as `error`.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
WARM, LONG = 3, 0.5
"""Turns before the first that is timed, and seconds after which fewer are enough."""


class Side(NamedTuple):
    """What is timed, what it computes, and what is told of it."""

    turn: Callable[[], object]
    answer: Callable[[], Arrays]
    about: dict[str, Any] = {}


Build = Callable[[dict[str, Any], Arrays], Side]


def serve(build: Build, about: dict[str, Any]) -> None:
    """Answer until there are no more lines; `about` is said first."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer

    sides: dict[str, Side] = {}
    out.write(json.dumps(about) + "\n")
    for line in sys.stdin:
        try:
            answer = answered(json.loads(line), sides, build)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        out.write(json.dumps(answer) + "\n")


def answered(request: dict[str, Any], sides: dict[str, Side], build: Build) -> dict[str, Any]:
    """Do what is asked, and return what came of it."""
    if "begin" in request:
        with np.load(request["arrays"]) as file:
            side = sides[request["begin"]] = build(request["case"], dict(file))
        start = time.perf_counter()
        for _ in range(WARM):
            side.turn()
            if time.perf_counter() - start > LONG:
                break
        return side.about

    if "answer" in request:
        np.savez(request["into"], **sides[request["answer"]].answer())
        return {}

    if "time" in request:
        turn = sides[request["time"]].turn
        if request["count"] > 1:  # the other side had the caches until now
            turn()
        return timed(turn, request["count"])

    raise ValueError("a line asks to begin, for an answer or for time")


def timed(turn: Callable[[], object], count: int) -> dict[str, float]:
    """Return the seconds of a turn, by the clock and by the processor."""
    gc.collect()
    gc.disable()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(count):
        turn()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    gc.enable()
    return {"wall": wall / count, "processor": processor / count}
