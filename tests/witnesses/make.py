"""Makes the witnesses with the recurra of today, in an empty folder: python -m witnesses.make
FOLDER, in tests/.

Those of a new version of a format stand beside the old ones; none is ever made over.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from trials import Stopper

import recurra
from recurra.catalog import discover
from recurra.errors import Interrupted
from recurra.spec import shipped
from recurra.testing import suite
from recurra.testing.certificate import write
from witnesses import (
    HERE,
    PLUGIN,
    SITE,
    STEPS,
    STOP,
    copied,
    figures,
    installed,
    onward,
    opened,
    stored,
    trained,
)

SMALL = {
    "device": {"kind": "cpu", "path": "eager", "threads": 1},
    "training.steps": STEPS,
    "cell.hidden_size": 8,
}
LINES = {
    "source": {"kind": "text", "path": str(HERE / "data" / "lines.txt")},
    "sequence.length": 12,
    "training.batch_size": 4,
    "training.validate_every": 2,
    "encoder.size": 8,
    "generation.length": 16,
}
KEEPSAKE = """\
# Sums, by one component of each kind that recurra does not know.
schema = 1

[source]
kind = "sums"

[vocabulary]
kind = "common"

[sequence]
length = 6
carry = true
split = [0.8, 0.2, 0.0]

[encoder]
kind = "turns"

[cell]
kind = "ebb"
leak = 0.7
dropout = 0.1
num_layers = 2

[loss]
kind = "smoothed"

[training]
batch_size = 3
optimizer = { kind = "adamw", lr = 0.01 }
schedule = { kind = "plateau", patience = 0 }
validate_every = 1
checkpoint_every = 1

[generation]
prompt = "7+11="
length = 6
"""


def tasks(work: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Return the task files, each with what is changed of it."""
    mine = work / "keepsake.toml"
    mine.write_text(KEEPSAKE, encoding="utf-8")
    more: dict[str, dict[str, Any]] = {"python_docs": LINES, "airline": {"sequence.length": 24}}
    found = {
        name: (shipped.folder() / f"{name}.toml", SMALL | more.get(name, {}))
        for name in shipped.tasks()
    }
    return {**found, "keepsake": (mine, SMALL)}


def interrupted(task: Path, changes: dict[str, Any], target: Path, work: Path) -> None:
    """Make a run that was stopped with steps left; its data is named by the way from the run to
    it.
    """
    with suppress(Interrupted):
        recurra.run(task, changes, runs=work, observer=Stopper({STOP}))
    shutil.move(work / task.stem / "1", target)
    path = target / "task.toml"
    text = re.sub(
        r'^path = "/.*/',
        'path = "../../data/',
        path.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    path.write_text(text, encoding="utf-8")


def main(target: Path) -> None:
    """Make them all."""
    torch.set_num_threads(1)
    work = target / "work"
    work.mkdir(parents=True)
    shutil.copytree(HERE / "data", target / "data")
    shutil.copytree(
        SITE, target / "site", ignore=shutil.ignore_patterns("__pycache__", "contract.json")
    )
    (target / "sessions").mkdir()
    found: dict[str, Any] = {}
    with installed(target / "site"):
        for name, (task, changes) in tasks(work).items():
            interrupted(task, changes, target / "runs" / name, work)
            run = recurra.load(target / "runs" / name)
            session = opened(run)
            session.save(target / "sessions" / f"{name}.safetensors")
            found[name] = {"stopped": figures(run), "session": onward(session)}
            found[name]["resumed"] = trained(recurra.resume(copied(name, work / "again", target)))
        stored(target / "runs" / "hello_prefixes" / "task.toml", target / "corpus")
        for entry in discover().entries:
            if entry.plugin.origin.startswith(PLUGIN):
                write(entry, suite.examine(entry, "core"))
    (target / "figures.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(work)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
