"""What may make a resumed run another one: looked for in a process of its own, by trying it out.

`python -m recurra.verifying.causes RUN` prints sentences as JSON. It reads the data twice,
restores what it has saved, and looks for what changes while some updates are made and lies in no
checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recurra.attribution import blaming
from recurra.errors import RecurraError
from recurra.job.build import build_network, build_trainer, coming_of
from recurra.job.data import Data, load_data
from recurra.job.paths import Execution, begins_inside
from recurra.job.reopen import recorded_paths, relearn, resolved_again
from recurra.model.device import arithmetic
from recurra.randomness import seeded
from recurra.resolved import Resolved
from recurra.runs.checkpoints import Checkpoint
from recurra.runs.folder import RunFolder
from recurra.train.evaluate import evaluate
from recurra.train.events import Ended, Updated
from recurra.train.loop import Trainer

UPDATES = 3
"""Updates that are tried."""
DEEP = 3
"""How deep objects inside objects are looked at."""
MANY = 1000
"""Of how many things in a list each is looked at."""
PLAIN = (int, float, complex, str, bytes, bool, type(None))
STREAMS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
OWN = ("chosen_paths", "path", "step_path", "training", "noise", "compiles_steps")
"""What the engine keeps in a network, all of which a run records or makes again."""


def causes(folder: RunFolder) -> list[str]:
    """Return what was found in the parts of a run, in sentences."""
    resolved = resolved_again(folder)
    with blaming(resolved), arithmetic(resolved.task.device):
        data = load_data(resolved)
        found = list(_moving(resolved, data, folder.records.data().fingerprint))
        execution = recorded_paths(folder, resolved)
        with seeded(resolved.task.seed, "plugins"):
            trainer = _trainer(folder, resolved, data, execution)
            found += _hidden(resolved, data, trainer)
            saved = trainer.state()
            found += _lost(saved, _restored(_trainer(folder, resolved, data, execution), saved))
    return found


def _trainer(folder: RunFolder, resolved: Resolved, data: Data, execution: Execution) -> Trainer:
    """Return the trainer of a run before its first update."""
    network, _ = build_network(
        resolved,
        data.width,
        data.names,
        answers=data.answers.size,
        features=data.source.features(),
        missing=data.vocabulary.missing is not None,
        resets=begins_inside(resolved, data),
        execution=execution,
        coming=coming_of(data.covariates),
    )
    relearn(network, folder)
    return build_trainer(resolved, data, network)


def _moving(resolved: Resolved, data: Data, recorded: str) -> Iterator[str]:
    """Tell whether data read again is other data."""
    part = resolved.parts["source"]
    prints = {recorded, data.store.fingerprint, load_data(resolved).store.fingerprint}
    if len(prints) > 1:
        yield (
            f"source {part.entry.qualified} gives other data when it is opened again:"
            f" {len(prints)} fingerprints in three openings; a run goes on with the same data alone"
        )


def _hidden(resolved: Resolved, data: Data, trainer: Trainer) -> Iterator[str]:
    """Tell what changes in some updates and a validation, and is in no checkpoint."""
    before = dict(_held(resolved, data, trainer))
    made = 0
    for event in trainer.events():
        made += isinstance(event, Updated)
        if made >= UPDATES or isinstance(event, Ended):
            break
    validation = data.splits["validation"]
    if validation.steps:
        evaluate(trainer.network, data.reader, validation, data.tally("validation"))
        trainer.network.train()
    for place, (is_stream, value) in _held(resolved, data, trainer):
        was_stream, was = before.get(place, (is_stream, ABSENT))
        if was == value or (was is ABSENT and not is_stream and value == repr(None)):
            continue
        if is_stream or was_stream:
            yield (
                f"{place} is a stream of random numbers that no checkpoint holds, and {made}"
                " updates draw from it: draw from torch's own generator, whose state is saved"
            )
            continue
        yield (
            f"{place} was {was[:40]} and is {value[:40]} after {made} updates, and no checkpoint"
            " holds it: keep it as a buffer (`self.register_buffer`), or derive it from the"
            " position"
        )


ABSENT = "not there"


def _held(
    resolved: Resolved, data: Data, trainer: Trainer
) -> Iterator[tuple[str, tuple[bool, str]]]:
    """Give what may change outside of checkpoints: whether it is a stream, and its state."""
    yield "numpy's global generator", (True, _digest(repr(np.random.get_state())))  # noqa: NPY002
    yield "Python's global generator", (True, _digest(repr(random.getstate())))

    seen: set[int] = set()
    network = trainer.network
    for name, module in network.named_modules():
        if type(module).__module__.startswith(("torch.", "recurra.")):
            continue
        place = f"{_owner(resolved, module)}: {name}"
        yield from _inside(place, vars(module), seen, 0)
        for buffer in sorted(module._non_persistent_buffers_set):
            yield f"{place}.{buffer}", (False, _state(module._buffers[buffer]) or ABSENT)

    for part in resolved.used:
        target = part.entry.target
        kind = f"{part.entry.component.kind} {part.entry.qualified}"
        if part.entry.plugin.distribution == "recurra":
            continue
        own = sys.modules.get(target.__module__)
        yield from _inside(f"{kind}: class {target.__qualname__}", vars(target), seen, 0)
        if own is not None:
            yield from _inside(f"{kind}: module {part.entry.plugin.stem}", vars(own), seen, 0)
    for kind, made in (("source", data.source), ("target", data.target)):
        qualified = resolved.parts[kind].entry.qualified
        if not type(made).__module__.startswith("recurra."):
            yield from _inside(f"{kind} {qualified}", vars(made), seen, 0)


def _owner(resolved: Resolved, module: nn.Module) -> str:
    """Return what a module is called: as the component that it is, else by its class."""
    for part in resolved.used:
        if type(module) is part.entry.target:
            return f"{part.entry.component.kind} {part.entry.qualified}"
    return type(module).__qualname__


def _inside(
    place: str, table: Any, seen: set[int], depth: int
) -> Iterator[tuple[str, tuple[bool, str]]]:
    """Give what stands in the attributes of something, as far as its state can be told."""
    for name, value in list(table.items()):
        if str(name).startswith(("__", "_parameters", "_buffers", "_modules")) or name in OWN:
            continue
        if isinstance(value, nn.Module | type) or callable(value) and not _is_stream(value):
            continue
        if id(value) in seen and not isinstance(value, PLAIN):
            continue
        seen.add(id(value))
        state = _state(value)
        if state is not None:
            yield f"{place}.{name}", (_is_stream(value), state)
        elif hasattr(value, "__dict__") and depth < DEEP and not _is_foreign(value):
            yield from _inside(f"{place}.{name}", vars(value), seen, depth + 1)


def _is_foreign(value: Any) -> bool:
    """Tell whether something is of a library, or of recurra itself."""
    module = type(value).__module__
    return module.partition(".")[0] in {"builtins", "torch", "numpy", "recurra", "typing", "types"}


def _is_stream(value: Any) -> bool:
    return isinstance(value, STREAMS)


def _state(value: Any) -> str | None:
    """Return a value as a text that differs where it differs; nothing for what cannot be told."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, torch.Generator):
        return _digest(repr(value.get_state().tolist()))
    if isinstance(value, np.random.Generator):
        return _digest(repr(value.bit_generator.state))
    if isinstance(value, np.random.RandomState):
        return _digest(repr(value.get_state()))
    if isinstance(value, random.Random):
        return _digest(repr(value.getstate()))
    if isinstance(value, Tensor | np.ndarray):
        array = value.detach().cpu().float().numpy() if isinstance(value, Tensor) else value
        return f"{list(array.shape)} {_digest(array.tobytes())}"
    if isinstance(value, dict | list | tuple | set | frozenset | deque):
        parts = list(value.items() if isinstance(value, dict) else value)
        states = [_state(part) for part in parts[:MANY]]
        return f"{len(parts)} of {states}" if states else "empty"
    if type(value).__module__ == "itertools":
        return repr(value)
    return None


def _digest(content: str | bytes) -> str:
    raw = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(raw).hexdigest()[:16]


def _restored(trainer: Trainer, saved: Checkpoint) -> Checkpoint:
    trainer.restore(saved)
    return trainer.state()


def _lost(saved: Checkpoint, restored: Checkpoint) -> Iterator[str]:
    """Tell what of a checkpoint is not there again once it was restored."""
    for group, tensors in saved.tensors.items():
        again = restored.tensors.get(group, {})
        odd = [
            name
            for name, tensor in tensors.items()
            if name not in again or not torch.equal(again[name], tensor)
        ]
        if odd:
            more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            yield (
                f"the state of the {group} is saved and not restored: {odd[0]}{more} is not what"
                " it was after a checkpoint was taken back"
            )
    for name, value in saved.state.items():
        if json.dumps(restored.state.get(name)) != json.dumps(value):
            yield f"{name} is saved and not restored"


def main() -> None:
    """Print the causes of the run that the command line names."""
    warnings.simplefilter("ignore")
    try:
        found = causes(RunFolder.open(Path(sys.argv[1])))
    except RecurraError as error:
        found = [f"looking for a cause has failed: {error.problems[0].fact}"]
    print(json.dumps({"causes": found}))


if __name__ == "__main__":
    main()
