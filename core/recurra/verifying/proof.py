"""A run that is left alone, then the same killed and resumed, and the comparison of both."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from recurra.errors import InputError, RecurraError, RunError, error_of
from recurra.runs import files
from recurra.runs.comparing import Compared, compare
from recurra.runs.folder import RunFolder, next_folder
from recurra.verifying.child import Child, Life
from recurra.verifying.kills import WORDS, Kill, drawn
from recurra.verifying.rhythm import Shortened

LOOKING = 300
"""Seconds that looking for a cause may take."""
LEAST = 1 << 14
"""Bytes of a disk that is full: no more than what a few lines take."""
IN_A_ROW = 2
"""Runs without a kill, since their time was over before it came, after which no more are begun."""

Telling = Callable[[str], None]
Begin = Callable[[str, Sequence[str], Path], Child]


@dataclass(frozen=True)
class Killed:
    """A kill: when after the birth of its process, in which phase, and what was saved by then."""

    seconds: float
    phase: str
    step: int
    saved: int | None

    def __str__(self) -> str:
        place = WORDS[self.phase]
        if self.phase != "start":
            place += f", at step {self.step:,}"
        went = "nothing was saved yet: begun again"
        if self.saved is not None:
            went = f"resumed from step {self.saved:,}"
        return f"after {self.seconds:.2f} s, {place}; {went}"


@dataclass
class Verified:
    """What was proved of a task: `equal` where no bit differs.

    `proved` says that it was resumed, too. `refused` is what a resumed process said where it did
    not go on; `causes` are what was found in the parts of the run where something differs. `folder`
    holds both runs where they are kept.
    """

    task: str
    updates: int
    changes: list[str]
    reference_seconds: float = 0.0
    kills: list[Killed] = field(default_factory=list)
    runs: int = 0
    compared: Compared = field(default_factory=Compared)
    refused: str = ""
    causes: list[str] = field(default_factory=list)
    folder: str | None = None
    seconds: float = 0.0

    @property
    def resumed(self) -> int:
        """How many kills have left a checkpoint from which the run went on."""
        return sum(kill.saved is not None for kill in self.kills)

    @property
    def equal(self) -> bool:
        """Whether no resumed run differs from the reference in a bit."""
        return not self.refused and not self.compared.differences

    @property
    def proved(self) -> bool:
        """Whether they are equal, and any of them was resumed at all."""
        return self.equal and self.resumed > 0

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data, as `--json` prints it."""
        return {"proved": self.proved, "equal": self.equal, **asdict(self)}


class Proof:
    """The processes and folders of one proof."""

    def __init__(self, task: Shortened, name: str, runs: Path | None, begin: Begin = Child) -> None:
        self.begin = begin
        self.keeps = runs is not None
        if runs is None:
            self.folder = Path(tempfile.mkdtemp(prefix="recurra-verify-"))
        else:
            self.folder = next_folder(runs / name, "runs", "--runs")
        self.name = name
        self.task = self.folder / f"{name}.toml"
        files.write_text(self.task, tomli_w.dumps(task.tables, multiline_strings=False))
        self.verified = Verified(name, task.updates, task.changes)

    def made(self, kills: int, seed: int, tell: Telling) -> Verified:
        """Make the runs and compare them.

        Raises the error of the reference run where that fails, and leaves no process behind.
        """
        verified, began = self.verified, time.monotonic()
        try:
            self._made(kills, seed, tell)
        except BaseException:
            if not self.keeps:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise
        verified.seconds = time.monotonic() - began
        if self.keeps or not verified.proved:
            verified.folder = str(self.folder)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        return verified

    def _made(self, kills: int, seed: int, tell: Telling) -> None:
        verified = self.verified
        life = self._lived(["run", str(self.task), "--runs", str(self.folder / "reference")])
        if life.code:
            raise _error_of(life, self.folder)
        reference = RunFolder.open(self.folder / "reference" / self.name)
        verified.reference_seconds = life.seconds
        updates = f"{verified.updates:,} update{'s' * (verified.updates != 1)}"
        tell(f"reference: {updates}, never stopped, in {life.seconds:.1f} s")

        idle = 0
        while verified.equal and idle < IN_A_ROW:
            before = len(verified.kills)
            left = kills - before if before < kills else int(verified.resumed == 0)
            if not left:
                break
            moments = drawn(life.marks, life.born, life.ended, left, seed + verified.runs)
            resumed = self._resumed(moments, reference.path, kills, tell)
            verified.runs += 1
            if resumed is not None:
                verified.compared.add(compare(reference.path, resumed))
            idle = 0 if verified.resumed and len(verified.kills) > before else idle + 1
        if not verified.equal:
            tell("looking for a cause")
            verified.causes = self._causes(reference.path)

    def _resumed(
        self, kills: list[Kill], reference: Path, asked: int, tell: Telling
    ) -> Path | None:
        """Train to the end, killed on the way; return the run, nothing where it does not go on."""
        verified = self.verified
        home = self.folder / f"killed-{verified.runs + 1}"
        begin = ["run", str(self.task), "--runs", str(home), "--paths-of", str(reference)]
        waiting: list[Kill | None] = [*kills, None]
        command = begin
        while True:
            life = self._lived(command, waiting.pop(0) if len(waiting) > 1 else None)
            saved = _saved(home / self.name)
            if life.code == 0:
                return RunFolder.open(home / self.name).path
            if life.code is not None:
                verified.refused = str(_error_of(life, self.folder))
                return None

            phase, step = "start", 0
            if life.marks:
                moment = life.marks[-1].moment
                phase, step = moment.phase, moment.step
            phase = "training" if phase == "updated" else phase
            kill = Killed(life.seconds, phase, step, saved)
            verified.kills.append(kill)
            tell(f"kill {len(verified.kills)} of {asked}: {kill}")
            command = begin if saved is None else ["resume", str(home / self.name)]

    def _lived(self, command: list[str], kill: Kill | None = None) -> Life:
        with self.begin("recurra", [*command, "--json"], self.folder / "logs") as child:
            return child.lived(kill)

    def _causes(self, reference: Path) -> list[str]:
        """Return what is found in the parts of the run, in a process of its own."""
        logs = self.folder / "logs"
        with self.begin("recurra.verifying.causes", [str(reference)], logs) as child:
            life = child.lived(limit=LOOKING)
        return list(life.answer().get("causes", []))


def _saved(task: Path) -> int | None:
    """Return the step of the last checkpoint of the newest run of a task, if there is one."""
    try:
        return RunFolder.open(task).checkpoints.index().get("last")
    except InputError:
        return None
    except RunError:
        # Whoever goes on tells what is damaged.
        return 0


def _error_of(life: Life, folder: Path | None = None) -> RecurraError:
    """Return the error that a process has ended with, which wrote into a folder."""
    answer = life.answer()
    if "error" in answer:
        return error_of(answer)
    if folder is not None and shutil.disk_usage(folder).free < LEAST:
        # What the process said of it found no place either.
        fact = f"{folder} cannot be written to: there is no space left on its disk"
        return RunError.of(
            "RC053", fact, cure="free some space, or name another folder: --runs DIR"
        )
    fact = f"the process ended with exit code {life.code}: {life.last_words() or 'without a word'}"
    return RunError.of("RC065", fact, cure="run the task alone with `recurra run`, and mend that")
