"""Rows 10 to 12: what is met by a process that has just begun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from recurra.bench.clock import pairs
from recurra.bench.records import Finding, Setting, Shape, Skipped
from recurra.bench.tasks import write_text

PATIENCE = 600
"""Seconds that a process may take."""


def first_use(shape: Shape, setting: Setting) -> Finding:
    """Measure the first training step of a fused cell that nobody has seen before, less that of its
    eager loop.
    """
    ours = []
    for turn in range(setting.few):
        with tempfile.TemporaryDirectory(prefix="recurra-bench-") as cache:
            ours.append(_first(shape, turn, "fused", cache) - _first(shape, turn, "eager", cache))
    return Finding(ours, path="fused")


def second_use(shape: Shape, setting: Setting) -> Finding:
    """Measure the same in later processes, which find the kernel in the cache folder."""
    with tempfile.TemporaryDirectory(prefix="recurra-bench-") as cache:
        _first(shape, 0, "fused", cache)
        ours = [
            _first(shape, 0, "fused", cache) - _first(shape, 0, "eager", cache)
            for _ in range(setting.few)
        ]
    return Finding(ours, path="fused")


def _first(shape: Shape, number: int, path: str, cache: str) -> float:
    """Return the seconds of the first training step in a new process. Raises `Skipped` if the path
    is refused.
    """
    size = [shape.batch, shape.steps, shape.width]
    asked = {"shape": size, "number": number, "path": path, "folder": cache}
    told = child("first", asked, RECURRA_CACHE=cache)
    if told["path"] != path:
        raise Skipped(f"the cell runs on path {told['path']}, not {path}: {told['why']}")
    return float(told["seconds"])


def memory(shape: Shape, setting: Setting) -> Finding:
    """Measure what training on a large text takes of memory beyond torch itself, in gigabytes."""
    with tempfile.TemporaryDirectory(prefix="recurra-bench-") as name:
        need, free = 2.2 * setting.text, shutil.disk_usage(name).free
        if free < need:
            raise Skipped(
                f"{name} has room for {free / 1e9:.1f} GB, and the text and its cache take"
                f" {need / 1e9:.1f}"
            )
        write_text(Path(name) / "text.txt", setting.text)
        told = child("memory", {"folder": name}, RECURRA_CACHE=str(Path(name) / "cache"))
    return Finding([(told["peak"] - told["torch"]) / 1e9], path=told["path"])


def start_of(*arguments: str) -> Any:
    """Return what measures the seconds of a whole command."""

    def measure(shape: Shape, setting: Setting) -> Finding:
        line = [sys.executable, "-m", "recurra.cli.main", *arguments]
        ours, _ = pairs(lambda: _run(line, {}), lambda: None, setting.pairs, least=0)
        return Finding(ours)

    return measure


def child(what: str, asked: dict[str, Any], **variables: str) -> dict[str, Any]:
    """Return what a function of `recurra.bench.child` tells in a new process. Raises `RuntimeError`
    if it fails.
    """
    code = "import sys, torch; from recurra.bench import child; child.main(*sys.argv[1:])"
    said = _run([sys.executable, "-c", code, what, json.dumps(asked)], variables)
    return dict(json.loads(said.splitlines()[-1]))


def _run(line: list[str], variables: dict[str, str]) -> str:
    """Run a process with as many threads as this one, and return what it prints."""
    world = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), **variables}
    done = subprocess.run(
        line, capture_output=True, text=True, env=world, timeout=PATIENCE, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(f"in a new process: {said[-1][:300]}")
    return done.stdout
