"""Learned or given vectors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from recurra import Encoder, InputError
from recurra_encoders.options import EmbeddingOptions


class Embedding(Encoder[EmbeddingOptions]):
    """Each symbol has a vector, drawn at the start or given in a file.

    It is drawn from N(0, 1), as torch does. Where it is `tied`, the weight of the head is the same
    over sqrt(D), so that what the head says at first is of the size of what it reads: that weight
    is what is learned, and a step's vector sqrt(D) times its row (Vaswani et al. 2017,
    arXiv:1706.03762, 3.4).

    A safetensors file holds one matrix `[rows, size]`. Its metadata may name the symbol of each
    row, as a JSON list under `symbols`: rows are then found by name, and a symbol without a row
    keeps the vector that was drawn, unless vectors are frozen: then each needs its row. Without
    names, row i is that of symbol i, and there must be as many rows as symbols.
    """

    def __init__(self, size: int, options: EmbeddingOptions) -> None:
        super().__init__(size, options)
        self.output_size = options.size
        self.table = nn.Embedding(size, options.size)
        self.scale = math.sqrt(options.size) if options.tied else 1.0
        if options.tied:
            with torch.no_grad():
                self.table.weight.div_(self.scale)
        self.table.weight.requires_grad_(not options.frozen)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, T, D]` for ids `[B, T]`."""
        vectors: Tensor = self.table(x)  # B T D
        return vectors * self.scale if self.options.tied else vectors

    def symbol_vectors(self) -> Tensor:
        """Return the vectors of all symbols, `[size, D]`."""
        weight: Tensor = self.table.weight
        return weight * self.scale if self.options.tied else weight

    def head_weight(self) -> nn.Parameter | None:
        """Return the vectors, where the head is to share them."""
        if not self.options.tied:
            return None
        weight = self.table.weight
        assert isinstance(weight, nn.Parameter)
        return weight

    def prepare(self, names: Sequence[str]) -> None:
        """Take the vectors of the file.

        Raises `InputError` (RC001, RC040) if it cannot be read or does not fit.
        """
        path = self.options.vectors
        if path is None:
            return

        vectors, rows = _read(path)
        self._check_shape(path, vectors, named=rows is not None)
        if rows is None:
            rows = list(names)
        _check_rows(path, rows, len(vectors))
        self._check_symbols(path, rows, names)

        # A symbol without a row keeps the vector that was drawn.
        row_of = {name: row for row, name in enumerate(rows)}
        symbols = [symbol for symbol, name in enumerate(names) if name in row_of]
        rows_of_symbols = [row_of[names[symbol]] for symbol in symbols]
        given = vectors[rows_of_symbols].to(self.table.weight)
        with torch.no_grad():
            self.table.weight[symbols] = given / self.scale

    def _check_shape(self, path: str, vectors: Tensor, named: bool) -> None:
        """Raise `InputError` (RC040) for vectors of another width, or another number of rows.

        Rows that are named may be more or fewer than the symbols.
        """
        count, width = vectors.shape
        if width != self.options.size:
            fact = f"{path} holds vectors of width {width}, but encoder.size is {self.options.size}"
            raise _misfit(fact, "encoder.size", cure=f"set encoder.size = {width}")

        if not named and count != self.size:
            fact = f"{path} holds {count} rows, but there are {self.size} symbols"
            cure = (
                "give a row for each symbol in the order that `recurra check` prints, or name"
                " the rows: a JSON list under `symbols` in the metadata"
            )
            raise _misfit(fact, cure=cure)

    def _check_symbols(self, path: str, rows: list[str], names: Sequence[str]) -> None:
        """Raise `InputError` (RC040) for symbols without a row: for one if frozen, else for all."""
        having = set(rows)
        missing = [name for name in names if name not in having]
        if self.options.frozen and missing:
            fact = (
                f"{len(missing)} of {self.size} symbols have no row in {path}: {_listed(missing)}"
            )
            cure = (
                "give them rows, or set encoder.frozen = false: what is drawn would never be"
                " learned"
            )
            raise _misfit(fact, "encoder.frozen", cure=cure)
        if len(missing) == len(names):
            fact = f"none of the {self.size} symbols has a row in {path}"
            raise _misfit(fact, got=_listed(rows), allowed=_listed(names))


def _check_rows(path: str, rows: list[str], count: int) -> None:
    """Raise `InputError` (RC040) for names that are not one for each row, each another."""
    if len(rows) != count:
        raise _misfit(f"{path} names {len(rows)} symbols, but holds {count} rows")

    different = len(set(rows))
    if different != len(rows):
        twice = sorted({name for name in rows if rows.count(name) > 1})
        fact = f"{path} names {len(rows) - different} symbols twice"
        raise _misfit(fact, got=_listed(twice))


def _read(path: str) -> tuple[Tensor, list[str] | None]:
    """Return the one matrix of a safetensors file, and the names of its rows where it has any."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except FileNotFoundError as error:
        fact = f"the file of vectors does not exist: {path}"
        raise InputError.of("RC001", fact, key="encoder.vectors") from error
    except (OSError, SafetensorError) as error:
        raise _misfit(f"{path} is not a safetensors file: {error}") from error

    vectors = _matrix(path, tensors)
    written = metadata.get("symbols")
    return vectors, None if written is None else _names(path, written)


def _matrix(path: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the one tensor of a file. Raises `InputError` (RC040) where it is not one matrix."""
    matrices = [
        tensor for tensor in tensors.values() if tensor.dim() == 2 and tensor.is_floating_point()
    ]
    if len(matrices) != 1 or len(tensors) != 1:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
        raise _misfit(f"{path} must hold one matrix [rows, size]", got=shapes or "nothing")

    vectors = matrices[0].to(torch.get_default_dtype())
    if not bool(torch.isfinite(vectors).all()):
        raise _misfit(f"{path} holds a number that is not finite, or too large")
    return vectors


def _names(path: str, written: str) -> list[str]:
    """Return the names that a JSON list holds. Raises `InputError` (RC040) if it is none."""
    try:
        rows = json.loads(written)
    except json.JSONDecodeError as error:
        fact = f"the metadata of {path} holds no JSON list under `symbols`: {error}"
        raise _misfit(fact) from error

    if not (isinstance(rows, list) and all(isinstance(row, str) for row in rows)):
        fact = f"the metadata of {path} must hold a JSON list of names under `symbols`"
        raise _misfit(fact, got=str(rows)[:80])
    return rows


def _listed(names: Sequence[str]) -> str:
    """Return the first names, as an error lists them."""
    first = ", ".join(map(repr, names[:5]))
    return first + ", ..." if len(names) > 5 else first


def _misfit(fact: str, key: str = "encoder.vectors", **details: str) -> InputError:
    """Return the error of a file that does not fit."""
    return InputError.of("RC040", fact, key=key, **details)
