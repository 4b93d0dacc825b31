"""Bytes as symbols."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recurra import Options, Vocabulary


class ByteOptions(Options):
    """Options of byte: none."""


class Byte(Vocabulary[ByteOptions]):
    """The 256 bytes; a text is its UTF-8.

    Bytes that are no UTF-8, which a network may generate, become U+FFFD.
    """

    unit: ClassVar[str] = "byte"

    def __init__(self, options: ByteOptions) -> None:
        super().__init__(options)
        self.seen = False

    @property
    def size(self) -> int:
        """256, once there is any text."""
        return 256 if self.seen else 0

    def fit(self, runs: Iterable[str]) -> None:
        """Learn nothing but that there is text."""
        self.seen = any(bool(run) for run in runs)

    def add(self, runs: Iterable[str]) -> dict[str, int]:
        """Take nothing: every byte is known."""
        return {}

    def encode(self, values: str) -> NDArray[np.uint8]:
        """Return the bytes of the text."""
        return np.frombuffer(values.encode("utf-8", "surrogatepass"), np.uint8)

    def decode(self, ids: NDArray[Any]) -> str:
        """Return the text of bytes."""
        values = np.asarray(ids).astype(np.uint8)
        raw = values.tobytes()
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return raw.decode("utf-8", "replace")

    def symbol(self, index: int) -> str:
        """Return a printable ASCII character, or the byte in hexadecimal."""
        printable = 0x20 <= index < 0x7F
        return chr(index) if printable else f"\\x{index:02x}"

    def streamer(self) -> Callable[[int], str]:
        """Return a function that gives a character once all its bytes have come."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda index: decoder.decode(bytes([index]))

    def save(self) -> dict[str, Any]:
        """Return that there was text."""
        return {"seen": self.seen}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take that back."""
        self.seen = bool(saved["seen"])
