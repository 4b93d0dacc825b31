"""Rows 10 to 12, and 20: what is met by a process that has just begun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from recurra.bench.clock import pairs
from recurra.bench.records import Finding, Measure, Setting, Shape, Skipped
from recurra.bench.tasks import scratch, write_text
from recurra.spec import shipped
from recurra.world import lone

SMALL = "hello_lstm"
"""The shipped task whose whole run is measured."""
PATIENCE = 600
"""Seconds that a process may take."""


def first_use(shape: Shape, setting: Setting) -> Finding:
    """Measure the first training step of a fused cell that nobody has seen before.

    The step of its eager loop is taken off. Each time there is a new cell and an empty cache.
    """
    ours = []
    for number in range(setting.few):
        with scratch() as cache:
            ours.append(_fused_less_eager(shape, number, cache))
    return Finding(ours, path="fused")


def second_use(shape: Shape, setting: Setting) -> Finding:
    """Measure the same in later processes, which find the kernel in the cache folder."""
    with scratch() as cache:
        _first(shape, 0, "fused", cache)  # fills the cache
        ours = [_fused_less_eager(shape, 0, cache) for _ in range(setting.few)]
    return Finding(ours, path="fused")


def _fused_less_eager(shape: Shape, number: int, cache: str) -> float:
    """Return how much longer a first step takes on the fused path than in the loop."""
    fused = _first(shape, number, "fused", cache)
    eager = _first(shape, number, "eager", cache)
    return fused - eager


def _first(shape: Shape, number: int, path: str, cache: str) -> float:
    """Return the seconds of the first training step in a new process.

    Raises `Skipped` if the path is refused.
    """
    size = [shape.batch, shape.steps, shape.width]
    request = {"shape": size, "number": number, "path": path, "folder": cache}
    answer = child("first", request, RECURRA_CACHE=cache)
    if answer["path"] != path:
        raise Skipped(f"the cell runs on path {answer['path']}, not {path}: {answer['why']}")
    return float(answer["seconds"])


def memory(shape: Shape, setting: Setting) -> Finding:
    """Measure what training on a large text takes of memory beyond torch itself, in gigabytes."""
    with scratch() as name:
        folder = Path(name)

        _refuse_without_room(folder, 2.2 * setting.text)
        write_text(folder / "text.txt", setting.text)
        cache = str(folder / "cache")
        answer = child("memory", {"folder": name}, RECURRA_CACHE=cache)

    beyond_torch = answer["peak"] - answer["torch"]
    return Finding([beyond_torch / 1e9], path=answer["path"])


def _refuse_without_room(folder: Path, need: float) -> None:
    """Raise `Skipped` if a folder has less room than a text and its cache take, in bytes."""
    free = shutil.disk_usage(folder).free
    if free < need:
        room, size = f"{free / 1e9:.1f}", f"{need / 1e9:.1f}"
        raise Skipped(f"{folder} has room for {room} GB, and the text and its cache take {size}")


def start_of(*arguments: str) -> Measure:
    """Return what measures the seconds of a whole command."""
    line = [sys.executable, "-m", "recurra.cli.main", *arguments]

    def start() -> None:
        _run(line, {})

    def nothing() -> None:
        pass

    def measure(shape: Shape, setting: Setting) -> Finding:
        ours, _ = pairs(start, nothing, setting.pairs, least=0)
        return Finding(ours)

    return measure


BARE = "import torch; torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])"
"""A program that does the least that a training needs."""


def run_of_a_task(shape: Shape, setting: Setting) -> Finding:
    """Measure a whole run of a small task beside an import of torch and of its optimizers.

    It is the time of the processor that counts.
    """
    ours, other = _task_beside("run", BARE, setting)
    return Finding(ours, other, processor=True)


def check_of_a_task(shape: Shape, setting: Setting) -> Finding:
    """Measure the seconds of the processor that a check takes more than an import of torch."""
    ours, other = _task_beside("check", "import torch", setting)
    beyond = [a - b for a, b in zip(ours, other, strict=True)]
    return Finding(beyond, processor=True)


def _task_beside(verb: str, code: str, setting: Setting) -> tuple[list[float], list[float]]:
    """Return the processor's seconds of a command on a task, and of a program of torch's alone."""
    task = str(shipped.folder() / f"{SMALL}.toml")
    with scratch() as runs:
        into = ["--runs", runs] if verb == "run" else []
        line = [sys.executable, "-m", "recurra.cli.main", verb, task, *into]
        beside = [sys.executable, "-c", code]

        def command() -> None:
            _run(line, {})

        def bare() -> None:
            _run(beside, {})

        return pairs(command, bare, setting.few, clock=of_children, least=0)


def of_children() -> float:
    """Return the seconds of the processor that processes have used which have ended."""
    times = os.times()
    return times.children_user + times.children_system


def child(what: str, request: dict[str, Any], **variables: str) -> dict[str, Any]:
    """Return what a function of `recurra.bench.child` answers in a new process.

    Raises `RuntimeError` if it fails.
    """
    code = "import sys, torch; from recurra.bench import child; child.main(*sys.argv[1:])"
    line = [sys.executable, "-c", code, what, json.dumps(request)]
    printed = _run(line, variables)
    return dict(json.loads(printed.splitlines()[-1]))


def _run(line: list[str], variables: dict[str, str]) -> str:
    """Run a process with as many threads as this one, and return what it prints."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    environment = {**lone(), **threads, **variables}
    process = subprocess.run(
        line, capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False
    )
    if process.returncode:
        errors = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        raise RuntimeError(f"in a new process: {errors[-1][:300]}")
    return process.stdout
