"""Folders of runs made by hand, for tests of what is drawn of them: nothing is trained."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

RESULT: dict[str, Any] = {
    "task": "hand",
    "steps": 40,
    "weights_of_step": 30,
    "ended": "all steps are done",
    "seconds": 2.5,
    "tokens_per_second": 1000.0,
    "parameters": 1234,
    "split": "test",
    "predictions": 99,
    "metrics": {"loss": 1.5, "accuracy": 0.75},
    "baselines": {
        "uniform": {"loss": 2.0, "accuracy": 0.25},
        "unigram": {"loss": 1.75, "accuracy": 0.5},
    },
    "notes": [],
    "verdict": "beats the best baseline: 1.5 loss, 14.3 % below unigram (1.75)",
    "judged": "loss",
    "best_baseline": "unigram",
    "beats_baselines": True,
    "better": {"loss": "lower", "accuracy": "higher"},
    "broken_bands": [],
}
ENVIRONMENT = {
    "recurra": "0.1.0", "python": "3.11.7", "torch": "2.6.0", "numpy": "2.0.0", "format": 2,
    "platform": "Linux", "processor": "x86_64", "cpu": "a processor", "threads": 1,
    "paths": ["fused"], "device": "cpu", "randomness": 2,
}  # fmt: skip


def records(
    steps: int, every: int = 1, validate: int = 10, bad: Iterable[int] = ()
) -> Iterable[dict[str, Any]]:
    """Give the records of a training; those of the steps in `bad` are no number."""
    for step in range(every, steps + 1, every):
        loss: Any = "nan" if step in bad else 3 * math.exp(-step / steps) + 0.1 * math.sin(step)
        yield {
            "step": step, "epoch": step // 10, "split": "train", "loss": loss, "rate": 0.01 / step,
            "tokens": 64 * step, "gradient_norm": 1 + 1 / step,
        }  # fmt: skip
        if validate and step % validate == 0:
            loss = 3 * math.exp(-step / steps)
            yield {"step": step, "epoch": 0, "split": "validation", "loss": loss, "accuracy": 0.5}


def run_folder(
    path: Path,
    *,
    name: str = "hand",
    result: Mapping[str, Any] | None = RESULT,
    lines: Iterable[Mapping[str, Any]] | None = None,
    samples: str = "--- step 20\nhe\n--- step 40, final\nhello\n",
    failed: Mapping[str, Any] | None = None,
) -> Path:
    """Make the folder of a run that was never trained, as far as pictures read it."""
    path.mkdir(parents=True)
    task = {
        "schema": 1,
        "name": name,
        "seed": 0,
        "cell": {"kind": "recurra/lstm", "hidden_size": 8},
        "loss": {"kind": "recurra/cross_entropy"},
    }
    (path / "task.toml").write_text(tomli_w.dumps(task), encoding="utf-8")
    (path / "environment.json").write_text(json.dumps(ENVIRONMENT))
    (path / "plugins.json").write_text("[]")
    (path / "checkpoints").mkdir()
    index = {"last": 40, "best": 30, "sha256": {}}
    (path / "checkpoints" / "index.json").write_text(json.dumps(index))
    with (path / "metrics.jsonl").open("w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines or records(40))
    if samples:
        (path / "samples.txt").write_text(samples, encoding="utf-8")
    if result is not None:
        told = {**result, "task": name, "run": str(path)}
        (path / "result.json").write_text(json.dumps(told))
    if failed is not None:
        (path / "failed.json").write_text(json.dumps(failed))
    return path
