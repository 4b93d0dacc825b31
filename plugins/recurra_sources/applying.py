"""Options that count for some elements alone: each says so, and is refused where it would be
ignored.
"""

from __future__ import annotations

from typing import Any

from recurra import Element, InputError, Options


class For:
    """Stands in the annotation of an option, and says for which elements it counts, or for which
    one value of it does.

    `Annotated[str, For("numbers")]` has no meaning for text and tokens.
    """

    def __init__(self, *elements: Element, value: Any = None) -> None:
        self.elements = elements
        self.value = value


def refuse_unused(options: Options, element: Element) -> None:
    """Raise `InputError` (RC030) for an option that was changed and has no meaning for what the
    vocabulary reads.
    """
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        for mark in field.metadata:
            if not isinstance(mark, For) or element in mark.elements or value == field.default:
                continue
            if mark.value is None or mark.value == value:
                meant = " and ".join(mark.elements)
                fact = (
                    f"{name} = {value!r} is for {meant} alone, but the vocabulary reads {element}"
                )
                cure = f"leave {name} out, or take another vocabulary"
                raise InputError.of("RC030", fact, key=f"source.{name}", cure=cure)
