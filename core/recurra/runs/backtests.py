"""One backtest's folder, `backtests/<task>/<n>/`: what was asked, and each fold once it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import load, save

from recurra import system
from recurra.errors import InputError
from recurra.runs import files
from recurra.runs.folder import next_folder
from recurra.runs.records import LOCK, Hash, Model, damaged, reading

AGAIN = "run the backtest again"

Whole = Annotated[int, Field(ge=1, lt=1 << 63)]


class Asked(Model):
    """backtest.json: what was asked, of which data, and the folds that are done with their hashes.

    `run` is the run whose model forecasts, nothing where folds train their own; `model` names the
    column of the forecasts.
    """

    folds: Whole
    step: Whole
    horizon: Whole
    retrain: bool
    model: str
    run: str | None = None
    levels: list[float] | None = None
    """Those of the intervals that were asked for, where that is not left to the run."""
    fingerprint: str
    plugins: dict[str, list[str]] = {}
    """The hashes of the local plugins of the task, by their names."""
    done: dict[str, Hash] = {}


class Forecasts:
    """What a model has forecast in a fold: the series in `rows` `[n]` of the data, `[n, H, F]`.

    Steps are not a number from where a forecast is not finite on. Beside them stand the quantiles
    `[n, Q, H, F]` of their intervals, at `chances` `[Q]`, and the `levels` of these, if any.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        values: NDArray[np.float64],
        quantiles: NDArray[np.float64] | None = None,
        chances: Sequence[float] = (),
        levels: Sequence[float] = (),
    ) -> None:
        self.rows, self.values = rows, values
        count, *shape = values.shape
        self.quantiles = np.zeros((count, 0, *shape)) if quantiles is None else quantiles
        self.chances, self.levels = tuple(chances), tuple(levels)

    def content(self) -> bytes:
        """Return them as a file holds them."""
        tensors = {"rows": self.rows, "forecasts": self.values}
        if self.levels:
            tensors["quantiles"] = self.quantiles
            tensors["chances"] = np.array(self.chances)
            tensors["levels"] = np.array(self.levels)
        return bytes(save({name: np.ascontiguousarray(each) for name, each in tensors.items()}))

    @classmethod
    def read(cls, content: bytes) -> Forecasts:
        """Return those of a file. Raises any error for what holds none."""
        tensors = load(content)
        rows, values = tensors["rows"], tensors["forecasts"]
        if rows.ndim != 1 or values.ndim != 3 or len(rows) != len(values):
            fact = f"it holds {list(values.shape)} forecasts of {list(rows.shape)} series"
            raise ValueError(fact)
        if "levels" not in tensors:
            return cls(rows, values)
        quantiles, chances = tensors["quantiles"], tensors["chances"].tolist()
        count, *shape = values.shape
        if quantiles.shape != (count, len(chances), *shape):
            fact = f"it holds {list(quantiles.shape)} quantiles of {list(values.shape)} forecasts"
            raise ValueError(fact)
        return cls(rows, values, quantiles, chances, tensors["levels"].tolist())


class BacktestFolder:
    """A backtest's folder.

    backtest.json         what was asked, and the hash of each fold that is done
    task.toml             the whole resolved task
    fold-1/               the runs of fold 1, where it trained a model
    fold-1.safetensors    what was forecast in fold 1
    forecasts.csv         the frame of all folds
    result.json           the figures, the baselines, the verdict
    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self.path, self.asked = path, asked

    @classmethod
    def create(cls, root: Path, task: str, asked: Asked, text: str) -> BacktestFolder:
        """Make the next numbered folder of a task, of which `text` is TOML.

        Raises `InputError` (RC050), `RunError` (RC053).
        """
        folder = cls(next_folder(root / task, "backtests", "--backtests"), asked)
        files.write_text(folder.path / "task.toml", text)
        folder._record()
        return folder

    @classmethod
    def open(cls, path: Path) -> BacktestFolder:
        """Open a folder. Raises `RunError` (RC052)."""
        with reading(path / files.BACKTEST, AGAIN):
            asked = Asked.model_validate(files.read_json(path / files.BACKTEST))
        return cls(path, asked)

    @staticmethod
    def is_one(path: Path) -> bool:
        """Tell whether a folder is a backtest's."""
        try:
            return (path / files.BACKTEST).is_file()
        except OSError:
            return False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from going on with it meanwhile. Raises `InputError` (RC055)."""
        try:
            with system.locked(self.path / LOCK):
                yield
        except system.Held as error:
            fact = f"another process goes on with {self.path}"
            raise InputError.of("RC055", fact, cure="wait for it to end") from error

    def read_again(self) -> None:
        """Learn which folds are done, which another process may have made. Raises `RunError`."""
        self.asked = self.open(self.path).asked

    def home(self, fold: int) -> tuple[Path, str]:
        """Return in which folder the runs of a fold lie, and under what name."""
        return self.path, f"fold-{fold}"

    def trained(self, fold: int) -> Path | None:
        """Return the folder of a fold's runs, if one has begun to train."""
        root, name = self.home(fold)
        return root / name if (root / name).is_dir() else None

    def save(self, fold: int, forecasts: Forecasts) -> None:
        """Write what was forecast in a fold, whole or not at all. Raises `RunError` (RC053)."""
        content = forecasts.content()
        files.write_bytes(self._file(fold), content, self.saved())
        done = {**self.asked.done, str(fold): files.digest_of(content)}
        self.asked = self.asked.model_copy(update={"done": done})
        self._record()

    def forecasts(self, fold: int) -> Forecasts | None:
        """Return what was forecast in a fold, if it is done. Raises `RunError` (RC052)."""
        recorded = self.asked.done.get(str(fold))
        if recorded is None:
            return None
        path = self._file(fold)
        with reading(path, AGAIN):
            content = path.read_bytes()
        if files.digest_of(content) != recorded:
            raise damaged(path, "its hash is not the recorded one", AGAIN)
        with reading(path, AGAIN):
            return Forecasts.read(content)

    def saved(self) -> str:
        """Return in words which folds are done."""
        done = sorted(map(int, self.asked.done))
        if not done:
            return "no fold is done"
        listed = ", ".join(map(str, done))
        return f"fold{'s' * (len(done) > 1)} {listed} of {self.asked.folds} {_be(len(done))} done"

    def write(self, name: str, value: Any) -> None:
        """Write one of the JSON files. Raises `RunError` (RC053)."""
        files.write_json(self.path / name, value, self.saved())

    def _record(self) -> None:
        self.write(files.BACKTEST, self.asked.model_dump(mode="json"))

    def _file(self, fold: int) -> Path:
        return self.path / f"fold-{fold}.safetensors"


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def newest(path: Path) -> Path:
    """Return the newest backtest of a task's folder, or the folder itself."""
    return files.newest(path, BacktestFolder.is_one) or path
