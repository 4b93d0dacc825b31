"""What a safetensors file says that it holds, read without any of its numbers, and without torch.

The form: eight bytes that say how long the header is, the header, which is JSON, and the bytes of
the tensors, one after the other. A header that lies is refused before anything is made of it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from recurra.runs import files

LONGEST = 16 << 20
"""Bytes of a header, at most: those of some hundred thousand tensors."""
DEEPEST = 64
"""Axes of a tensor, at most."""
BLOCK = 1 << 20
WIDTHS = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E5M2": 1,
    "F8_E4M3": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "F64": 8,
    "I64": 8,
    "U64": 8,
}
"""Bytes of a number, by the names that the form has for types."""
NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}
"""The same types, as torch calls them."""


class Tensor(NamedTuple):
    """A tensor: its name, its type as torch calls it, its shape, and where its bytes lie."""

    name: str
    type: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.end - self.begin


class Header(NamedTuple):
    """What a file says about itself, and its tensors in the order in which they lie."""

    about: dict[str, str]
    tensors: list[Tensor]


def read(file: IO[bytes], size: int) -> Header:
    """Return the header of a file of some bytes, which begins where the file stands.

    Raises `ValueError` that says what is wrong with it, and `OSError`.
    """
    start = file.read(8)
    if len(start) < 8:
        raise ValueError("it is too short for a safetensors file")
    length = int.from_bytes(start, "little")
    if length > min(LONGEST, size - 8):
        raise ValueError(f"its header claims {length:,} bytes")
    text = file.read(length)
    if text[:1] != b"{":
        raise ValueError("its header does not begin as one")
    table = files.parsed(text)

    about = table.pop("__metadata__", None) or {}
    texts = isinstance(about, dict) and all(isinstance(each, str) for each in about.values())
    if not texts:
        raise ValueError("what it says about itself is no text")
    found = [_tensor(name, said, 8 + length) for name, said in table.items()]
    found.sort(key=lambda tensor: (tensor.begin, tensor.end))
    place = 8 + length
    for tensor in found:
        if tensor.begin != place:
            raise ValueError(f"tensor {tensor.name[:80]!r} does not begin where another ends")
        place = tensor.end
    if place != size:
        raise ValueError(f"its tensors end at byte {place:,} of {size:,}")
    return Header(about, found)


def _tensor(name: str, said: object, start: int) -> Tensor:
    """Return a tensor as the header has it. Raises `ValueError`."""
    if not isinstance(said, dict):
        raise ValueError(f"tensor {name[:80]!r} is not described")
    type_, shape, place = said.get("dtype"), said.get("shape"), said.get("data_offsets")
    if type_ not in WIDTHS:
        raise ValueError(f"tensor {name[:80]!r} is of no known type: {str(type_)[:20]!r}")
    if not _counts(shape) or len(shape) > DEEPEST:  # type: ignore[arg-type]
        raise ValueError(f"tensor {name[:80]!r} has no shape")
    if not _counts(place) or len(place) != 2:  # type: ignore[arg-type]
        raise ValueError(f"tensor {name[:80]!r} lies nowhere")
    begin, end = place  # type: ignore[misc]
    if end - begin != math.prod(shape) * WIDTHS[type_]:  # type: ignore[arg-type]
        raise ValueError(f"tensor {name[:80]!r} has not as many bytes as its shape")
    return Tensor(name, NAMES[type_], tuple(shape), start + begin, start + end)  # type: ignore[arg-type]


def _counts(value: object) -> bool:
    """Tell whether a value is a list of whole numbers from 0 that any file could have."""
    return isinstance(value, list) and all(
        type(each) is int and 0 <= each < 1 << 63 for each in value
    )


def of_file(path: Path) -> Header:
    """Return the header of a file. Raises as `read` does."""
    with path.open("rb") as file:
        return read(file, os.fstat(file.fileno()).st_size)


def hash_of_state(path: Path, header: Header) -> str:
    """Return the hash of a saved session as `recurra.generate.saved` makes it of its tensors."""
    rest = {key: value for key, value in sorted(header.about.items()) if key != "sha256"}
    digest = hashlib.sha256(json.dumps(rest).encode())
    with path.open("rb") as file:
        for tensor in sorted(header.tensors):
            heading = [tensor.name, f"torch.{tensor.type}", list(tensor.shape)]
            digest.update(json.dumps(heading).encode())
            for block in stretch(file, tensor):
                digest.update(block)
    return digest.hexdigest()


def stretch(file: IO[bytes], tensor: Tensor) -> Iterator[bytes]:
    """Give the bytes of a tensor."""
    file.seek(tensor.begin)
    left = tensor.size
    while left and (block := file.read(min(left, BLOCK))):
        left -= len(block)
        yield block
