"""Other libraries, each a process of its own that takes turns with this one.

Their scripts lie in `benchmarks/rivals`, and their environments are named by whoever measures. On
one thread all of them are held to one core and timed by the processor, so that what others do on
the machine changes the figures little; on several by the clock.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

import recurra
from recurra.bench.clock import LEAST, WARM, Turn, undisturbed
from recurra.bench.records import Finding, Rivals, Skipped
from recurra.bench.tasks import scratch
from recurra.engine.load import Load, Look, busy_of, look
from recurra.engine.threads import using
from recurra.errors import InputError
from recurra.world import lone

LONG = 0.5
"""Seconds after which a turn is warm, however few they were."""
Arrays = dict[str, NDArray[Any]]
SCRIPTS = Path(recurra.__file__).parents[2] / "benchmarks" / "rivals"
PACKAGES = {"jax": "jax", "onnxruntime": "onnx onnxruntime"}
"""What must be installed for the scripts of a library."""
FEW = 3
"""Rounds of what takes seconds each time."""
OFF = 1e-3
"""How far two libraries may be from each other, as a share of the norm.

No single number says so: a gradient that jumps, as of a unit near the bend of an activation, is
rounded to either side.
"""
RUN_IN = 0.2
"""Seconds that a side runs before each of its turns, where several threads are timed.

Linux wakes a thread beside the one that wakes it as long as it remembers, for some 0.1 s, that the
threads of another process had the other core.
"""
LOOKED = 0.1
"""Seconds for which the cores are watched before one is taken."""


def started(rivals: Rivals, library: str, script: str) -> Rival:
    """Start a script in the environment of a library.

    Raises `Skipped` where there is none, and `RuntimeError` if it does not start.
    """
    if library not in rivals.pythons:
        packages = PACKAGES[library]
        raise Skipped(
            f"{library} is not named: python -m venv FOLDER && FOLDER/bin/pip install"
            f" {packages}, then --{library} FOLDER"
        )
    path = SCRIPTS / script
    if not path.exists():
        raise Skipped(f"there is no {path}: the scripts are in a clone of the repository alone")
    rival = Rival(library, [str(rivals.pythons[library]), str(path)], rivals.threads)
    rivals.about[library] = rival.about
    return rival


def python_of(option: str, name: str | None) -> Path | None:
    """Return the Python that an option names: it, or the folder of an environment.

    Raises `InputError` (RC080) if there is none.
    """
    if name is None:
        return None
    path = Path(name).expanduser()
    for python in (path, path / "bin" / "python", path / "Scripts" / "python.exe"):
        if python.is_file():
            return python.absolute()
    fact = f"{option}: there is no Python"
    cure = "name a python, or the folder of a virtual environment"
    raise InputError.of("RC080", fact, got=name, cure=cure)


class Took(NamedTuple):
    """The seconds of a turn."""

    wall: float
    processor: float


class Side(Protocol):
    """What takes part in a race."""

    def timed(self, count: int) -> Took:
        """Have so many turns, and return the seconds of one."""


class Own:
    """A side in this process."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        start = time.perf_counter()
        for _ in range(WARM):
            turn()
            if time.perf_counter() - start > LONG:
                break

    def timed(self, count: int) -> Took:
        """Have so many turns, after one that finds the caches as the other side left them.

        A single turn is so long that it need not.
        """
        if count > 1:
            self.turn()
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(count):
            self.turn()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        return Took(wall / count, processor / count)


class Rival:
    """A process of another library."""

    def __init__(self, library: str, line: list[str], threads: int) -> None:
        self.library = library
        self.errors = tempfile.TemporaryFile()  # until the process is closed
        environment = {**lone(), "OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
        for name in ("PYTHONPATH", "PYTHONHOME"):  # which are of our own environment
            environment.pop(name, None)
        self.process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )
        try:
            self.about = self._answer()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Rival:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(OSError):
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Return what is answered. Raises `RuntimeError` for an error."""
        assert self.process.stdin is not None
        with suppress(OSError):  # a process that has ended is told of by its answer
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            lines = self.errors.read().decode(errors="replace").strip().splitlines()
            reason = lines[-1][:300] if lines else f"exit code {self.process.returncode}"
            if reason.startswith("ModuleNotFoundError"):
                packages = PACKAGES[self.library]
                raise Skipped(f"{reason}: pip install {packages} in the environment that is named")
            raise RuntimeError(f"{self.library}: {reason}")

        answer = dict(json.loads(line))
        if "error" in answer:
            raise RuntimeError(f"{self.library}: {answer['error']}")
        return answer

    def side(self, name: str, case: Mapping[str, Any], arrays: Path) -> Theirs:
        """Let it prepare something to be timed from arrays in a file."""
        about = self.ask(begin=name, case=case, arrays=str(arrays))
        return Theirs(self, name, about)

    @property
    def processor(self) -> float:
        """Seconds of the processor that it has used; 0 where the system does not tell."""
        try:
            text = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8")
            columns = text.rsplit(")", 1)[1].split()
            return (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError, AttributeError):
            return 0.0


@dataclass
class Theirs:
    """A side in a process of another library."""

    rival: Rival
    name: str
    about: dict[str, Any]

    def timed(self, count: int) -> Took:
        """Let it have so many turns."""
        answer = self.rival.ask(time=self.name, count=count)
        return Took(answer["wall"], answer["processor"])

    def answer(self) -> Arrays:
        """Return what it computes."""
        with scratch() as folder:
            path = Path(folder) / "answer.npz"
            self.rival.ask(answer=self.name, into=str(path))
            with np.load(path, allow_pickle=False) as file:
                return dict(file)


class Race(NamedTuple):
    """The seconds of a turn of each side, of each round, and what others used meanwhile."""

    times: dict[str, list[Took]]
    load: float | None
    by_processor: bool

    def seconds(self, name: str) -> list[float]:
        """Return the seconds of a side that count."""
        return [took.processor if self.by_processor else took.wall for took in self.times[name]]

    def best(self, names: Sequence[str]) -> str:
        """Return the side whose least time is the least."""
        return min(names, key=lambda name: min(self.seconds(name)))

    def finding(
        self, ours: str, others: Sequence[str], per: float = 1.0, path: str = ""
    ) -> Finding:
        """Return one side beside the best of others, by the seconds of a `per`th of a turn."""
        other = self.best(others)
        walls = {}
        for role, name in (("ours", ours), ("other", other)):
            walls[role] = [took.wall / per for took in self.times[name]]
        return Finding(
            [seconds / per for seconds in self.seconds(ours)],
            [seconds / per for seconds in self.seconds(other)],
            path=path,
            rival=other,
            load=self.load,
            processor=self.by_processor,
            walls=walls,
        )


def race(
    sides: Mapping[str, Side],
    rivals: Sequence[Rival],
    rounds: int,
    threads: int,
    least: float = LEAST,
) -> Race:
    """Let sides take turns, all of them in each round."""
    once = {name: side.timed(1).wall for name, side in sides.items()}
    counts, run_in = _turns(once, least), _turns(once, RUN_IN)
    if sum(once.values()) > LONG * len(sides):
        rounds = min(rounds, FEW)

    times: dict[str, list[Took]] = {name: [] for name in sides}
    load = Load(partial(together, rivals))
    with undisturbed():
        for _ in range(rounds):
            for name, side in sides.items():
                if threads > 1:
                    side.timed(run_in[name])
                times[name].append(side.timed(counts[name]))
    return Race(times, load.foreign(), by_processor=threads == 1)


def _turns(once: Mapping[str, float], seconds: float) -> dict[str, int]:
    """Return how many turns of each side take so many seconds; `once` are those of a turn."""
    return {name: math.ceil(seconds / max(each, 1e-7)) for name, each in once.items()}


def together(rivals: Sequence[Rival]) -> Look | None:
    """Return what was done so far, that of rivals as our own; nothing where it is not told."""
    seen = look()
    if seen is None:
        return None
    return seen._replace(own=seen.own + sum(rival.processor for rival in rivals))


@contextmanager
def held(threads: int) -> Iterator[None]:
    """Let this process and those that it starts use so many threads; of one, a single core."""
    with using(threads):
        if threads > 1 or not hasattr(os, "sched_setaffinity"):
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {quietest(before)})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


def quietest(cores: set[int]) -> int:
    """Return the core that has the least to do at this moment."""
    before = {core: busy_of({core}) for core in cores}
    time.sleep(LOOKED)
    work = {core: (busy_of({core}) or 0.0) - (before[core] or 0.0) for core in cores}
    return min(cores, key=lambda core: (work[core], core))


def stored(folder: str, arrays: Arrays) -> Path:
    """Write arrays into a folder, and return the file."""
    path = Path(folder) / "arrays.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def agree(name: str, ours: Arrays, theirs: Arrays) -> None:
    """Raise `ValueError` unless all that a rival computes is what we do."""
    if missing := ours.keys() - theirs.keys():
        raise ValueError(f"{name} gives no {', '.join(sorted(missing))}")
    for key, mine in ours.items():
        other = theirs[key]
        if mine.shape != other.shape:
            raise ValueError(f"{name} gives {key} of {other.shape}, not {mine.shape}")
        norm = np.linalg.norm(mine.astype(np.float64))
        difference = np.linalg.norm(mine.astype(np.float64) - other)
        if not difference <= OFF * norm:
            share = difference / norm
            raise ValueError(f"{name} is not what it is compared with: {key} is {share:.2g} off")
