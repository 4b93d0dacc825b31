"""What may change when a run goes on: what overrides ask for, recorded with the step it is from."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tomli_w

from recurra.compatibility import check_compatibility
from recurra.errors import InputError, OtherVersion, Problem
from recurra.job.build import build_optimizer
from recurra.job.reopen import resolved_again
from recurra.model.network import Network
from recurra.resolved import Resolved
from recurra.runs import files
from recurra.runs.folder import RunFolder
from recurra.runs.records import CHANGES, Changed
from recurra.spec import checking
from recurra.spec.document import Key, same
from recurra.spec.overrides import leaves
from recurra.spec.reading import read_toml
from recurra.train import state
from recurra.train.loop import Trainer

LENGTHS = ("training.steps", "training.epochs")
OPTIMIZER = "training.optimizer"
FREE = (
    *LENGTHS,
    OPTIMIZER,
    "training.schedule",
    "training.clip_norm",
    "training.validate_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.patience",
    "training.min_delta",
    "generation",
    "expect",
    "device.kind",
    "device.threads",
    "device.determinism",
    "source",
)
"""Keys, and tables of them, that may change: data that moved is held to its fingerprint later."""
MEASURED = ("device.threads", "device.determinism", "source")
"""Of them, those that may be others where a run is measured: none changes what a figure means."""
FIXED = {
    "training.optimizer.kind": "what the run keeps of its optimizer is of that kind",
    "training.monitor": "what was best so far was judged by it",
    "training.batch_size": "it makes other batches",
    "training.accumulate": "it makes other updates of the batches",
    "sequence": "it makes other splits or other batches",
    "seed": "all that is drawn comes from it",
    "name": "it names the folder of the run",
    "plugins": "the components of the run come from them",
    "vocabulary": "the network has learned what its ids or numbers mean",
    "target": "its figures so far are of what it was asked",
    "loss": "what was made small so far would be something else",
    "device.precision": "the weights are of that type",
    "device.path": "a run goes on on the paths that it records, bit for bit",
}
"""Why a key, or all keys of a table, may not change."""
NETWORK = "it makes another network, or trains it otherwise"


class Change(NamedTuple):
    """A key whose value is another; nothing stands for one that is not said."""

    key: Key
    before: Any
    after: Any

    @property
    def name(self) -> str:
        """The dotted key."""
        return checking.dotted(self.key)

    def __str__(self) -> str:
        return f"{self.name} {shown(self.before)} -> {shown(self.after)}"


def shown(value: Any) -> str:
    """Return a value as a task writes it."""
    return "not said" if value is None else checking.literal(value)


@dataclass(frozen=True)
class Changes:
    """How the task that a run goes on with differs from the one it records."""

    folder: RunFolder
    recorded: Resolved
    asked: Resolved
    of: Sequence[Change] = ()
    step: int | None = None
    """Of the checkpoint that it goes on from, where that is not the last."""

    def __bool__(self) -> bool:
        return bool(self.of)

    def touches(self, *tables: str) -> bool:
        """Tell whether any of some keys, or a key in one of some tables, changes."""
        return any(_within(change.name, tables) for change in self.of)

    def check(self, trainer: Trainer, step: int) -> None:
        """Refuse what the state at a step cannot go on with. Raises `InputError` (RC013, RC080)."""
        total = trainer.progress.total
        if self.touches(*LENGTHS) and total < step:
            # Where epochs take the place of steps, the key is that of the two which is said.
            said = (change for change in self.of if change.after is not None)
            key = next(change.name for change in said if change.name in LENGTHS)
            fact = f"{self.folder.path} has made {step} steps, and a run does not go back"
            allowed = f"{step} steps or more"
            problem = Problem(
                "RC013", fact, key, got=f"{total} step{'s' * (total != 1)}", allowed=allowed
            )
            raise InputError(self.asked.place(problem))
        if self.touches(OPTIMIZER):
            self._check_optimizer(trainer.network)

    def _check_optimizer(self, network: Network) -> None:
        """Refuse arguments under which an optimizer keeps other things of each weight."""
        before, after = (
            state.keeps(build_optimizer(resolved, network))
            for resolved in (self.recorded, self.asked)
        )
        if before == after:
            return
        odd = ", ".join(sorted(before ^ after))
        has = "keeps" if before - after else "keeps no"
        fact = f"with these arguments it would keep another state: the run {has} {odd}"
        key = next(change.name for change in self.of if _within(change.name, [OPTIMIZER]))
        problem = Problem("RC080", fact, key, cure=_anew(self.folder, key))
        raise InputError(self.asked.place(problem))

    def record(self, step: int) -> list[str]:
        """Write the changed task into the run's folder, and since which step it holds.

        Returns that in lines. Raises `RunError` (RC052, RC053).
        """
        records, path = self.folder.records, self.folder.path / "task.toml"
        entries = records.changes()
        # A process that was killed between the two files has changed nothing.
        made = [entry for entry in entries[-1:] if entry.task == files.digest(path)]
        made = [*entries[:-1], *made]
        if not self and made == entries:
            return []

        # Where the last checkpoint is damaged, a run goes on from an earlier step.
        made = [entry.model_copy(update={"step": min(entry.step, step)}) for entry in made]
        text = ""
        if self:
            text = self._amended()
            changed = {change.name: [change.before, change.after] for change in self.of}
            entry = Changed(step=step, task=files.digest_of(text.encode()), changed=changed)
            made.append(entry)

        kept = [entry.model_dump(mode="json") for entry in made]
        records.amend(CHANGES, files.json_text(kept))
        if self:
            records.amend("task.toml", text)
        return [f"from step {step} on: {change}" for change in self.of]

    def _amended(self) -> str:
        """Return the recorded task with what changes."""
        _, tables = read_toml(self.folder.path / "task.toml")
        for change in self.of:
            table: dict[Any, Any] = tables
            for part in change.key[:-1]:
                table = table.setdefault(part, {})
            if change.after is None:
                table.pop(change.key[-1], None)
            else:
                table[change.key[-1]] = change.after
        return tomli_w.dumps(tables, multiline_strings=False)


def changed(
    folder: RunFolder, overrides: Iterable[str] | Mapping[str, Any], data: Any = None
) -> Changes:
    """Return the task of a run as overrides change it, with `data` in place of what it was given.

    Raises `InputError` (RC080) for each key that may not change, with the reason.
    """
    if not overrides:
        recorded = resolved_again(folder, data=data)
        return Changes(folder, recorded, recorded)

    with warnings.catch_warnings():
        # What is to be said of a device is said of the one that is asked for.
        warnings.simplefilter("ignore", OtherVersion)
        recorded = resolved_again(folder, data=data)
    asked = resolved_again(folder, overrides, data)

    changes = differences(recorded, asked)
    refused = [change for change in changes if not _free(change)]
    if refused:
        # Where a kind is another, its options are too, and nobody has asked for those.
        kinds = [change.key[:-1] for change in refused if change.key[-1] == "kind"]
        told = [
            change for change in refused if change.key[-1] == "kind" or change.key[:-1] not in kinds
        ]
        raise InputError(asked.place(_problem(folder, change)) for change in told)
    return Changes(folder, recorded, asked, changes)


def moved(
    folder: RunFolder, recorded: Resolved, overrides: Iterable[str] | Mapping[str, Any]
) -> Resolved:
    """Return a run's task with the data, or the threads, that a run is to be measured with.

    Raises `InputError` (RC080) for a key under which the figures would mean something else.
    """
    if not overrides:
        return recorded
    asked = resolved_again(folder, overrides)
    problems = []
    for change in differences(recorded, asked):
        if _within(change.name, MEASURED):
            continue
        fact = f"{change.name} cannot change when a run is evaluated: the figures would be of"
        fact += " another task"
        cure = f"leave it out; what may change is {', '.join(MEASURED)}"
        problems.append(asked.place(_refused(folder, change, fact, cure)))
    if problems:
        raise InputError(problems)
    check_compatibility(asked)
    return asked


def differences(one: Resolved, other: Resolved) -> list[Change]:
    """Return every key whose value differs between two tasks."""
    before, after = (dict(leaves(resolved.tables())) for resolved in (one, other))
    keys = [*before, *(key for key in after if key not in before)]
    pairs = [Change(key, before.get(key), after.get(key)) for key in keys]
    return [change for change in pairs if not same(change.before, change.after)]


def _within(name: str, tables: Iterable[str]) -> bool:
    """Tell whether a dotted key is one of some, or stands in one of them."""
    return any(f"{name}.".startswith(f"{table}.") for table in tables)


def _free(change: Change) -> bool:
    """Tell whether a key may change."""
    if _within(change.name, FIXED) or not _within(change.name, FREE):
        return False
    # What no task says is the optimizer's own, and the run's checkpoint may say otherwise.
    return change.after is not None or not _within(change.name, [OPTIMIZER])


def _problem(folder: RunFolder, change: Change) -> Problem:
    """Return the problem of a key that may not change."""
    name = change.name
    if _within(name, [OPTIMIZER]) and name not in FIXED:
        fact = f"{name} cannot be taken away when a run goes on"
        return Problem("RC080", fact, name, cure=f"give it its value: -o {name}=...")

    why = next((reason for table, reason in FIXED.items() if _within(name, [table])), NETWORK)
    fact = f"{name} cannot change when a run goes on: {why}"
    return _refused(folder, change, fact, _anew(folder, name))


def _refused(folder: RunFolder, change: Change, fact: str, cure: str) -> Problem:
    """Return the problem of a value that is not the one that a run records."""
    allowed = f"{shown(change.before)}, as {folder.path} has it"
    return Problem("RC080", fact, change.name, got=shown(change.after), allowed=allowed, cure=cure)


def _anew(folder: RunFolder, key: str) -> str:
    """Return how to train with another value of a key."""
    task = folder.path / "task.toml"
    return (
        f"`recurra run {task} --from {folder.path} -o {key}=...` begins a new run with its weights,"
        " where they fit; without --from it trains anew"
    )
