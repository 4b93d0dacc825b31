"""What several processes have measured, put together: sums travel, and what all have stays."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any


def packed(sums: Any, known: Sequence[Any]) -> bytes:
    """Return sums as bytes, in which the objects that are `known` are named by their places."""
    file = io.BytesIO()
    _Packer(file, known).dump(sums)
    return file.getvalue()


def unpacked(content: bytes, known: Sequence[Any]) -> Any:
    """Return sums of bytes, which hold those of this process of the objects that are `known`."""
    return _Unpacker(io.BytesIO(content), known).load()


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, known: Sequence[Any]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.places = {id(each): place for place, each in enumerate(known) if each is not None}

    def persistent_id(self, value: Any) -> int | None:
        return self.places.get(id(value))


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, known: Sequence[Any]) -> None:
        super().__init__(file)
        self.known = known

    def persistent_load(self, place: int) -> Any:
        return self.known[place]
