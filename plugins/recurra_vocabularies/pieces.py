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


def pieces_of(tokenizer: Any) -> list[bytes]:
    """Return the bytes of each symbol of a byte-level tokenizer, in the order of their ids.

    A special token is written as it is.
    """
    added = {
        index: str(token.content) for index, token in tokenizer.get_added_tokens_decoder().items()
    }
    by_id = {index: text for text, index in tokenizer.get_vocab(with_added_tokens=True).items()}
    table = of_bytes()
    pieces = []
    for index in range(len(by_id)):
        if index in added:
            pieces.append(added[index].encode())
        else:
            pieces.append(bytes(table[mark] for mark in by_id[index]))
    return pieces
