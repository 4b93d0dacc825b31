"""Text for a terminal, which shows its commands and does not obey them.

Such a command moves the cursor, colours the text or turns its direction.
"""

from __future__ import annotations

import re

_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Return a text with control characters but line end and tab as escapes: `\x1b`, `\u202e`."""
    return _COMMANDS.sub(_escape, text)


def _escape(command: re.Match[str]) -> str:
    point = ord(command[0])
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"
