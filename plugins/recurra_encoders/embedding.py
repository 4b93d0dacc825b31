"""Learned or given vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from recurra import Encoder, InputError
from recurra_encoders.options import EmbeddingOptions


class Embedding(Encoder[EmbeddingOptions]):
    """Each symbol has a vector, drawn from N(0, 1) at the start as torch does, or given in a
    safetensors file.

    The file holds one matrix `[rows, size]`. Its metadata may name the symbol of each row, as a
    JSON list under `symbols`: rows are then found by name, and a symbol without a row keeps the
    vector that was drawn, unless vectors are frozen: then each needs its row. Without names, row i
    is that of symbol i, and there must be as many rows as symbols.
    """

    def __init__(self, size: int, options: EmbeddingOptions) -> None:
        super().__init__(size, options)
        self.output_size = options.size
        self.table = nn.Embedding(size, options.size)
        self.table.weight.requires_grad_(not options.frozen)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, T, D]` for ids `[B, T]`."""
        return self.table(x)  # type: ignore[no-any-return]  # B T D

    def prepare(self, names: Sequence[str]) -> None:
        """Take the vectors of the file. Raises `InputError` (RC001, RC040) if it cannot be read or
        does not fit.
        """
        if self.options.vectors is None:
            return
        vectors, rows = _read(self.options.vectors)
        if vectors.shape[1] != self.options.size:
            raise _misfit(
                f"{self.options.vectors} holds vectors of width {vectors.shape[1]}, but"
                f" encoder.size is {self.options.size}",
                "encoder.size",
                cure=f"set encoder.size = {vectors.shape[1]}",
            )
        if rows is None:
            if len(vectors) != self.size:
                fact = (
                    f"{self.options.vectors} holds {len(vectors)} rows, but there are {self.size}"
                    " symbols"
                )
                cure = (
                    "give a row for each symbol in the order that `recurra check` prints, or name"
                    " the rows: a JSON "
                )
                raise _misfit(fact, cure=cure + "list under `symbols` in the metadata")
            rows = list(names)
        if len(rows) != len(vectors):
            fact = (
                f"{self.options.vectors} names {len(rows)} symbols, but holds {len(vectors)} rows"
            )
            raise _misfit(fact)
        where = {name: index for index, name in enumerate(rows)}
        if len(where) != len(rows):
            twice = sorted({name for name in rows if rows.count(name) > 1})
            raise _misfit(
                f"{self.options.vectors} names {len(rows) - len(where)} symbols twice",
                got=_shown(twice),
            )
        known = [index for index, name in enumerate(names) if name in where]
        missing = [name for name in names if name not in where]
        if self.options.frozen and missing:
            fact = (
                f"{len(missing)} of {self.size} symbols have no row in {self.options.vectors}:"
                f" {_shown(missing)}"
            )
            cure = (
                "give them rows, or set encoder.frozen = false: what is drawn would never be"
                " learned"
            )
            raise _misfit(fact, "encoder.frozen", cure=cure)
        if not known:
            fact = f"none of the {self.size} symbols has a row in {self.options.vectors}"
            raise _misfit(fact, got=_shown(rows), allowed=_shown(names))
        with torch.no_grad():
            self.table.weight[known] = vectors[[where[names[index]] for index in known]].to(
                self.table.weight
            )


def _read(path: str) -> tuple[Tensor, list[str] | None]:
    """Return the one matrix of a safetensors file, and the names of its rows where it has any."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            named = (file.metadata() or {}).get("symbols")
    except FileNotFoundError as error:
        raise InputError.of(
            "RC001", f"the file of vectors does not exist: {path}", key="encoder.vectors"
        ) from error
    except (OSError, SafetensorError) as error:
        raise _misfit(f"{path} is not a safetensors file: {error}") from error
    matrices = [
        tensor for tensor in tensors.values() if tensor.dim() == 2 and tensor.is_floating_point()
    ]
    if len(matrices) != 1 or len(tensors) != 1:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
        raise _misfit(f"{path} must hold one matrix [rows, size]", got=shapes or "nothing")
    vectors = matrices[0].to(torch.get_default_dtype())
    if not bool(torch.isfinite(vectors).all()):
        raise _misfit(f"{path} holds a number that is not finite, or too large")
    if named is None:
        return vectors, None
    try:
        rows = json.loads(named)
    except json.JSONDecodeError as error:
        raise _misfit(
            f"the metadata of {path} holds no JSON list under `symbols`: {error}"
        ) from error
    if not (isinstance(rows, list) and all(isinstance(row, str) for row in rows)):
        raise _misfit(
            f"the metadata of {path} must hold a JSON list of names under `symbols`",
            got=str(rows)[:80],
        )
    return vectors, rows


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")


def _misfit(fact: str, key: str = "encoder.vectors", **details: Any) -> InputError:
    return InputError.of("RC040", fact, key=key, **details)
