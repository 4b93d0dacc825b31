"""Every file of a run that is read back, against a model and against its recorded hash.

hashes.json holds the hash of each of `SEALED`, and of what else is written beside them. It is
written once they all are, and anew when a resumed run records what it goes on with. A run from
before there were hashes is read as it is, and said to be unverified.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from recurra.errors import RecurraError, RunError, Unverified, warn
from recurra.runs import files

HASHES = "hashes.json"
SEALED = ("task.toml", "plugins.json", "environment.json", "data.json", "vocabulary.json")
CHANGES = "changes.json"
"""What overrides have changed of the task since the run began, where they have."""
CALIBRATION = "calibration.json"
"""The scores of a calibration, where there is one."""
ORIGIN = "origin.json"
"""The run that this one starts from, and what was taken of it, where there is one."""
LEFT = ("checkpoints", "environment.json", "plugins.json", "data.json")
"""What tells a run, damaged as it may be, from a folder in which somebody keeps a task."""
FAILED = "failed.json"
UNJUDGED = "unjudged.json"
"""Why a run has failed, while it has not gone on since."""
LOCK = ".lock"
"""The file by which a run is kept from other processes.

It is none that is written anew: a lock stays with the old one.
"""
FORMAT = 2
"""Of a run folder, as environment.json says it: from 2 on there is a hashes.json."""

T = TypeVar("T")
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Model(BaseModel):
    """Base of what a file holds: no value is taken for another type.

    Keys of a later version may stand beside.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False)


class Component(Model):
    """One line of plugins.json: a component, and where it comes from."""

    kind: str
    name: str
    distribution: str
    version: str


class Environment(Model):
    """environment.json, as far as anything depends on it.

    The paths, the device, the threads, the processes and the scheme of random numbers.
    """

    paths: list[str]
    step_paths: list[str] | None = None
    device: str = ""
    threads: Annotated[int, Field(ge=1, le=1 << 16)] = 1
    processes: Annotated[int, Field(ge=1, le=1 << 16)] = 1
    processes_since: dict[str, Annotated[int, Field(ge=1, le=1 << 16)]] = {}
    """From which step on others have trained it, and how many."""
    format: int = 1
    randomness: Literal[1, 2] = 1


class OpeningCovariates(Model):
    """Of data.json, the covariates of what generation goes on from, and of steps to come."""

    past: list[list[float | None]]
    future: list[list[float | None]]
    static: list[float | None]
    before: list[list[float | None]] | None = None
    """What came last of both before it, where any may be missing."""
    since: dict[str, Any] | None = None
    """When it begins, where features of time stamps are read."""


class DataRecord(Model):
    """data.json: what the data was, and what generation goes on from."""

    fingerprint: str
    opening: list[Count] | list[list[float | None]] | None = None
    """Nothing where nothing is generated."""
    opening_position: Count = 0
    opening_covariates: OpeningCovariates | None = None
    """What stands beside it, where there are covariates."""
    ending: list[Count] | None = None
    """The end of the training text, which generation may read first; runs of before have none."""
    ending_position: Count = 0
    labels: list[str] | None = None
    """The classes of the answers, where they are no elements of the input."""
    answers: dict[str, Any] | None = None
    """What was learned of answers that are numbers, and no elements of the input."""
    features: list[str] = []
    """The names of the columns of numbers."""
    missing: list[Count] | None = None
    """The columns of numbers that lack some in training, where any may be missing."""
    timeline: dict[str, str] | None = None
    """How the time stamps of the data go on, where it has such."""
    longest_answer: Count | None = None
    """How many symbols the longest answer of training has, where answers follow sequences."""
    covariates: dict[str, Any] | None = None
    """What was learned of covariates, where anything is read beside the elements."""
    loss: dict[str, Any] = {}
    """What the loss learned of the answers of training."""


class Changed(Model):
    """An entry of changes.json: the step since which some keys have other values.

    Each has the value before and the one after, nothing where a key is not said. `task` is the hash
    of the task that holds them.
    """

    step: Count
    task: Hash
    changed: dict[str, Annotated[list[Any], Field(min_length=2, max_length=2)]]


class Origin(Model):
    """origin.json: the run that this one starts from, and what was taken of it, part by part.

    `kept` is what was not learned of the run's own data: `vocabulary`, `answers`.
    """

    run: str
    step: Count
    sha256: Hash
    kept: list[str]
    parts: dict[str, str]
    add_symbols: bool | None = None
    refit_scale: bool | None = None
    """What was asked for; runs of before do not say."""


class Calibration(Model):
    """calibration.json: what the forecasts of another model, trained as this one, have missed by.

    `recipe` tells that model, and `over` by what its misses are measured: the scale of a series
    with its `season`, or the spread of a distribution. `scores` are by origin, the earliest first,
    by step ahead and by column.
    """

    recipe: Hash
    over: Literal["point", "spread"]
    season: Count
    scores: Annotated[list[list[list[list[float]]]], Field(min_length=1)]


class Written(Model):
    """How many bytes of a file had been written, and their hash."""

    bytes: Count
    sha256: Hash


class Hashes(Model):
    """hashes.json: of each file the hash, or both hashes while it is being replaced."""

    sha256: dict[str, list[Hash]]


PLUGINS = TypeAdapter(list[Component])
VOCABULARY = TypeAdapter(dict[str, Any])
CHANGED = TypeAdapter(list[Changed])


def damaged(path: Path, why: object, cure: str = "") -> RunError:
    """Return the error of a file of a run that does not hold what was written there."""
    default = "bring it back as it was from a copy of the run, or run the task again"
    return RunError.of("RC052", f"{path} is damaged or was changed: {why}", cure=cure or default)


@contextmanager
def reading(path: Path, cure: str = "") -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into an error that names it (RC052)."""
    try:
        yield
    except (RecurraError, MemoryError):
        raise
    except ValidationError as error:
        raise damaged(path, _faults(error), cure) from error
    except OSError as error:
        what = _inside(path, error.filename)
        raise damaged(path, f"{what} cannot be read: {error.strerror or error}", cure) from error
    except KeyError as error:
        raise damaged(path, f"{error} is missing", cure) from error
    except Exception as error:
        # safetensors, say, has errors of its own.
        message = " ".join(str(error).split())
        raise damaged(path, message[:300] or type(error).__name__, cure) from error


def _inside(folder: Path, name: Any) -> str:
    """Return the name of a file in a folder, as far as an error tells it."""
    if isinstance(name, str) and Path(name).parent == folder:
        return Path(name).name
    return "it"


def _faults(error: ValidationError) -> str:
    """Return the first faults of a file in a line: the key, and what is wrong with it."""
    faults = []
    for detail in error.errors(include_input=False):
        key = ".".join(map(str, detail["loc"]))
        faults.append(f"{key or 'it'}: {detail['msg']}")

    line = "; ".join(faults[:3])
    if len(faults) > 3:
        line += f", and {len(faults) - 3} more"
    return line


class Records:
    """The files of one run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def plugins(self) -> list[Component]:
        """Return the components that the run uses. Raises `RunError` (RC052), as all here."""
        return self._read("plugins.json", PLUGINS.validate_python)

    def environment(self) -> Environment:
        """Return what the run ran on."""
        return self._read("environment.json", Environment.model_validate)

    def data(self) -> DataRecord:
        """Return what the data was."""
        return self._read("data.json", DataRecord.model_validate)

    def vocabulary(self) -> dict[str, Any]:
        """Return what the vocabulary learned, as it saved it."""
        return self._read("vocabulary.json", VOCABULARY.validate_python)

    def origin(self) -> Origin | None:
        """Return the run that this one starts from, if there is one."""
        if not os.path.lexists(self.folder / ORIGIN):
            return None
        return self._read(ORIGIN, Origin.model_validate)

    def calibration(self) -> Calibration | None:
        """Return the scores that intervals are made of, if there are any."""
        if not os.path.lexists(self.folder / CALIBRATION):
            return None
        return self._read(CALIBRATION, Calibration.model_validate)

    def changes(self) -> list[Changed]:
        """Return what has changed of the task, and when, the earliest first."""
        if not os.path.lexists(self.folder / CHANGES):
            return []
        return self._read(CHANGES, CHANGED.validate_python)

    def _read(self, name: str, model: Callable[[Any], T]) -> T:
        path = self.folder / name
        with reading(path):
            return model(files.read_json(path))

    def hashes(self) -> dict[str, list[str]]:
        """Return the hashes of the run's files; none of a run from before there were any."""
        path = self.folder / HASHES
        if not os.path.lexists(path):
            if self.environment().format >= FORMAT:
                raise damaged(path, "it is missing")
            return {}
        recorded = self._read(HASHES, Hashes.model_validate).sha256
        if missing := [name for name in SEALED if name not in recorded]:
            raise damaged(path, f"it holds no hash of {missing[0]}")
        return recorded

    def verify(self) -> bool:
        """Check that every file is what was written, and return whether there are hashes to tell.

        Raises `RunError` (RC052), and warns (`Unverified`) of a run that has none.
        """
        recorded = self.hashes()
        if not recorded:
            fact = (
                f"{self.folder} records no hashes, as runs of before: its files are read unverified"
            )
            warn(fact, Unverified)
            return False

        for name in recorded:
            path = self.folder / name
            with reading(path):
                digest = files.digest(path)
            if digest not in recorded[name]:
                if self.hashes() != recorded:
                    # It was amended while it was looked at.
                    return self.verify()
                cure = _cure(self.folder, name)
                raise damaged(path, "its hash is not the recorded one", cure)
        return True

    def seal(self) -> None:
        """Record the hash of each file."""
        hashes = {}
        has_origin = os.path.lexists(self.folder / ORIGIN)
        for name in (*SEALED, ORIGIN) if has_origin else SEALED:
            hashes[name] = [files.digest(self.folder / name)]
        self._write(hashes)

    def amend(self, name: str, text: str) -> None:
        """Write one of the files, or write it anew; at no moment do it and its hash disagree.

        Raises `RunError` (RC053).
        """
        recorded = self.hashes()
        path = self.folder / name
        new = files.digest_of(text.encode())
        if not recorded:
            files.write_text(path, text)
            return
        before = recorded.get(name, [])
        if before == [new]:
            return

        # Both hashes are good while the file is replaced; what was not there needs none.
        if before:
            self._write({**recorded, name: [*before, new]})
        files.write_text(path, text)
        self._write({**recorded, name: [new]})

    def _write(self, hashes: dict[str, list[str]]) -> None:
        files.write_json(self.folder / HASHES, {"sha256": hashes})


def _cure(folder: Path, name: str) -> str:
    """Return what can be done about a file that was changed."""
    if name == "task.toml":
        return (
            "bring it back as it was; options of `recurra generate` change the generation, and "
            f"`recurra run {folder / name}` trains anew with what it says now"
        )
    return ""
