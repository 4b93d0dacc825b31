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
from typing import IO, Any, NamedTuple

from recurra.runs import files

LONGEST = 16 << 20
"""Bytes of a header, at most: those of some hundred thousand tensors."""
DEEPEST = 64
"""Axes of a tensor, at most."""
BLOCK = 1 << 20
TYPES = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "I16": ("int16", 2),
    "U16": ("uint16", 2),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "I32": ("int32", 4),
    "U32": ("uint32", 4),
    "F32": ("float32", 4),
    "I64": ("int64", 8),
    "U64": ("uint64", 8),
    "F64": ("float64", 8),
    "C64": ("complex64", 8),
}
"""By the name that the form has for a type: what torch calls it, and the bytes of a number."""
KEYS = {"dtype", "shape", "data_offsets"}


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

    Raises `OSError`, or `ValueError` that names the tensor: one that stands twice, of an unknown
    type, of a shape that is none, or whose bytes are not as many as its shape says, overlap those
    of another, leave a gap, or go beyond the end of the file.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little") if len(start) == 8 else 0
    if not 2 <= length <= size - 8:
        raise ValueError(f"its header should have {length:,} bytes, and the file has {size:,}")
    if length > LONGEST:
        raise ValueError(f"its header has {length:,} bytes, {LONGEST:,} at most")
    text = file.read(length)
    table = files.parsed(text)
    # Blanks before it are refused by the library, too.
    if not isinstance(table, dict) or text[:1] != b"{":
        raise ValueError("its header is no table of tensors")

    about = table.pop("__metadata__", None)
    about = {} if about is None else about
    if not isinstance(about, dict) or not all(isinstance(each, str) for each in about.values()):
        raise ValueError("what it says about itself is no text")
    tensors = [_tensor(name, entry, 8 + length) for name, entry in table.items()]
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    place = 8 + length
    for tensor in tensors:
        if tensor.begin != place:
            raise ValueError(f"{tensor.name[:80]!r} does not begin where the tensor before it ends")
        place = tensor.end
    if place != size:
        raise ValueError(
            f"its tensors have {place - 8 - length:,} bytes, and it holds {size - 8 - length:,}"
        )
    return Header(about, tensors)


def _tensor(name: str, entry: Any, start: int) -> Tensor:
    """Return a tensor as the header has it. Raises `ValueError`."""
    short = repr(name[:80])
    known = isinstance(entry, dict) and entry.keys() == KEYS and isinstance(entry["dtype"], str)
    if not known or entry["dtype"] not in TYPES:
        raise ValueError(f"what its header says of {short} is no tensor")
    shape, place = entry["shape"], entry["data_offsets"]
    if not _counts(shape) or len(shape) > DEEPEST:
        raise ValueError(f"the shape of {short} is none")
    if not _counts(place) or len(place) != 2 or place[0] > place[1]:
        raise ValueError(f"{short} does not begin and end in the file")

    begin, end = place
    type_, width = TYPES[entry["dtype"]]
    if end - begin != math.prod(shape) * width:
        raise ValueError(f"{short} has {end - begin:,} bytes, and its shape asks for another size")
    return Tensor(name, type_, tuple(shape), start + begin, start + end)


def _counts(value: Any) -> bool:
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
    """Give the bytes of a tensor, a block at a time."""
    file.seek(tensor.begin)
    left = tensor.size
    while left and (block := file.read(min(left, BLOCK))):
        left -= len(block)
        yield block
