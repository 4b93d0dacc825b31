"""Options that count for some elements alone: each says so, and is refused elsewhere."""

from __future__ import annotations

from typing import Any

from recurra import Element, InputError, Options


class For:
    """Stands in the annotation of an option, and says for which elements it counts.

    `Annotated[str, For("numbers")]` has no meaning for text and tokens. With a `value` that is said
    of this one value of the option alone. With `labels` it counts for labels that are numbers too.
    """

    def __init__(self, *elements: Element, value: Any = None, labels: bool = False) -> None:
        self.elements = elements
        self.value = value
        self.labels = labels


def refuse_unused(options: Options, element: Element, numbers_labelled: bool = False) -> None:
    """Raise `InputError` (RC030) for an option that was changed and counts for other elements.

    `numbers_labelled` says whether labels are numbers.
    """
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        if value == field.default:
            continue

        for mark in field.metadata:
            if not isinstance(mark, For) or element in mark.elements:
                continue
            if mark.labels and numbers_labelled:
                continue
            if mark.value is None or mark.value == value:
                others = " and ".join(mark.elements)
                fact = f"{name} = {value!r} is for {others} alone"
                fact += f", but the vocabulary reads {element}"
                cure = f"leave {name} out, or take another vocabulary"
                raise InputError.of("RC030", fact, key=f"source.{name}", cure=cure)
