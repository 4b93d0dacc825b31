"""What CONTRIBUTING tells a newcomer is there, and in the order that it says."""

from __future__ import annotations

import inspect
import re

import pytest
from conftest import REPOSITORY
from pages import section

from recurra import verbs
from recurra.catalog import discover
from recurra.engine import fused
from recurra.engine.fused.dump import passes
from recurra.job import fresh

TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`((?:core|plugins|tasks|tests|docs)/[\w./]+)`", TEXT)))


def steps(title: str) -> list[tuple[str, list[str]]]:
    """Return the steps of a walk in their order, each with the files that its line names."""
    drawn = re.search(r"```text\n(.*?)```", section(TEXT, title), re.DOTALL)
    assert drawn
    found = re.findall(r"^   \|  ([\w.]+)(.*)$", drawn[1], re.MULTILINE)
    return [(name, re.findall(r"[\w/]+\.py", rest)) for name, rest in found]


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_is_named_is_there(place: str) -> None:
    """Each file and folder that is named exists; where a name is still to be chosen, its folder
    does.
    """
    path = REPOSITORY / place
    assert (path.parent if "NAME" in place else path).exists()


def test_a_task_walks_as_it_is_drawn() -> None:
    """Each stage of the drawing is called by `run` and the two stages that it calls, in this order,
    and the files of its line exist.
    """
    begin, end = inspect.getsource(verbs.run).split("prepared(", 1)
    parts = [begin, inspect.getsource(fresh.prepared), end, inspect.getsource(fresh.Prepared)]
    source = "".join(parts)
    walk = steps("## The walk of a task")
    called = [source.index(f"{name}(") for name, _ in walk]
    assert len(called) >= 9 and called == sorted(called)
    for _, files in walk:
        assert all((REPOSITORY / "core/recurra" / file).exists() for file in files)


def test_a_cell_walks_as_it_is_drawn() -> None:
    """The passes of the compiler are those of the drawing, in its order, and the files stand in the
    folder.
    """
    entry = discover().find("cell", "gru")
    walk = steps("## The walk of a cell")
    made = list(passes(entry.target(2, entry.options(hidden_size=3))))
    assert [name for name, _ in walk] == [*made, "proof.py"]
    folder = REPOSITORY / "core/recurra/engine/fused"
    assert fused.__file__ == str(folder / "__init__.py")
    for name, files in walk[:-1]:
        assert files and all((folder / file).exists() for file in files), name
