"""How byte-level tokenizers write bytes: as a printable character each, as GPT-2 has it."""

from __future__ import annotations

from functools import cache
from typing import Any

PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
"""Bytes that stand for themselves, as characters of Latin-1."""


@cache
def of_bytes() -> dict[str, int]:
    """Return the byte of each character that stands for one; the others come from U+0100 on."""
    others = [byte for byte in range(256) if byte not in PRINTABLE]
    written = {chr(byte): byte for byte in PRINTABLE}
    return written | {chr(256 + index): byte for index, byte in enumerate(others)}


def piece_of(written: str) -> bytes:
    """Return the bytes of a piece; one that is not written so stands for its own letters."""
    table = of_bytes()
    if not table.keys() >= {*written}:
        return written.encode()
    return bytes(table[mark] for mark in written)


def pieces_of(tokenizer: Any) -> list[bytes]:
    """Return the bytes of each symbol of a byte-level tokenizer, in the order of their ids.

    A special token is written as it is.
    """
    added = tokenizer.get_added_tokens_decoder()
    by_id = {index: text for text, index in tokenizer.get_vocab(with_added_tokens=True).items()}
    return [
        str(added[index].content).encode() if index in added else piece_of(by_id[index])
        for index in range(len(by_id))
    ]
