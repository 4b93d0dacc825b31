"""A map of colours as a PNG: a palette of 256 with transparency, which light and dark show alike.

Portable Network Graphics, W3C 2003: signature, then chunks of length, type, data and checksum.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

HIGH, LOW, GAP = (42, 111, 190), (200, 92, 24), (128, 128, 128)
"""Red, green and blue of what is above 0 or just large, of what is below 0, and of what is none."""
FULL = 225
"""How opaque the strongest colour is, of 255: what lies below shines through a little."""


def png(indices: NDArray[np.uint8], diverging: bool) -> bytes:
    """Return the picture of indices `[rows, columns]` into the palette; 0 is what is no number."""
    rows, columns = indices.shape
    # A byte before each row names its filter, which is none.
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), indices], axis=1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    colors, alphas = _palette(diverging)
    body = zlib.compress(lines.tobytes(), 9)
    made = [
        (b"IHDR", header),
        (b"PLTE", colors),
        (b"tRNS", alphas),
        (b"IDAT", body),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in made)


def png_address(indices: NDArray[np.uint8], diverging: bool) -> str:
    """Return that picture as the address of an image that holds it all."""
    return "data:image/png;base64," + base64.b64encode(png(indices, diverging)).decode()


def _chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def _palette(diverging: bool) -> tuple[bytes, bytes]:
    """Return colours and opacities: of 1 to 255, from nothing up, or from low over 0 to high."""
    colors, alphas = [GAP], [90]
    for index in range(1, 256):
        share = (index - 128) / 127 if diverging else (index - 1) / 254
        colors.append(LOW if share < 0 else HIGH)
        alphas.append(round(FULL * abs(share)))
    return bytes(part for color in colors for part in color), bytes(alphas)


def indices(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    """Return for each value the place between `low` and `high`, from 1 to 255; 0 of a NaN."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.where(np.isnan(share), 0, 1 + np.round(254 * np.nan_to_num(share))).astype(np.uint8)
