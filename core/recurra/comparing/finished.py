"""A comparison that is made, read back from its folder."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from recurra.comparing.comparison import Comparison
from recurra.comparing.folder import AGAIN, CompareFolder
from recurra.errors import InputError
from recurra.runs import files
from recurra.runs.records import reading

MADE = "comparison.json"


def finished(path: Path) -> Comparison:
    """Return the comparison of a folder, or the newest in it.

    Raises `InputError` (RC051) where there is none, or it is not finished, and `RunError` (RC052)
    for a file that does not hold what was written there.
    """
    found = CompareFolder.found(path)
    if found is None:
        fact = f"{path} holds no comparison"
        raise InputError.of("RC051", fact, cure="name a folder that `recurra compare` has made")
    plan = CompareFolder.open(found).plan
    file = found / MADE
    if not file.is_file():
        fact = f"the comparison {found} is not finished"
        raise InputError.of("RC051", fact, cure=f"`recurra compare {found}` goes on with it")
    with reading(file, AGAIN):
        held = files.read_json(file)
        names = {field.name for field in fields(Comparison)}
        seconds = {variant.name: variant.seconds for variant in plan.variants}
        own: dict[str, Any] = {key: value for key, value in held.items() if key in names}
        own |= {"folder": str(found), "seconds": seconds}
        made = TypeAdapter(Comparison).validate_python(own)
        if not made.rows or any(row.name not in seconds for row in made.rows):
            raise ValueError("its variants are not those of the plan")
    return made
