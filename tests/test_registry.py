"""Every cell on every shipped task that it is capable of, and the page's table of the registry."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY
from pages import block, page, section
from terminal import command

import recurra
from recurra.catalog import HOME, Entry, discover
from recurra.compatibility import needs
from recurra.resolve import resolve
from recurra.spec.shipped import tasks
from recurra.testing import certificate

CELLS = [entry for entry in discover().of_kind("cell") if entry.plugin.distribution == HOME]
SMALL = {
    "python_docs": (
        "[sequence]\nlength = 32\nsplit = [0.99, 0.005, 0.005]\n[generation]\nlength = 20\n"
    )
}
"""What is made smaller of a task that would take minutes."""


def task_of(cell: str, name: str, folder: Path, more: str = "") -> Path:
    """Write a task that is a shipped one with another cell, and return its path."""
    path = folder / f"{name}_{cell}.toml"
    base = (REPOSITORY / "tasks" / f"{name}.toml").as_posix()
    layer = f'[[cell.stack]]\nkind = "{cell}"\nhidden_size = 16\n'
    text = (
        f'schema = 1\nextends = "{base}"\n[training]\nsteps ='
        f" 20\n{SMALL.get(name, '')}{layer}{more}"
    )
    path.write_text(text, encoding="utf-8")
    return path


def pairs() -> list[Any]:
    """Return each cell with each task; all are slow but one task of every third cell, another from
    cell to cell.
    """
    names, found = sorted(tasks()), []
    for row, entry in enumerate(CELLS):
        for column, name in enumerate(names):
            quick = (column - row) % len(names) == 0 and row % 3 == 0
            marks = [] if quick else [pytest.mark.slow]
            found.append(
                pytest.param(
                    entry.component.name, name, marks=marks, id=f"{entry.component.name}-{name}"
                )
            )
    return found


@pytest.mark.parametrize(("cell", "name"), pairs())
def test_every_cell_runs_every_task(cell: str, name: str, tmp_path: Path) -> None:
    """Twenty steps of training, the figures and a generated sequence, or a refusal that says what
    the cell lacks.
    """
    path = task_of(cell, name, tmp_path)
    resolved = resolve(path)
    if lacked := needs(resolved.task).keys() & set(resolved.cells[0].entry.component.lacks):
        with pytest.raises(recurra.InputError, match=f"lacks {min(lacked)}"):
            recurra.check(path)
        return
    run = recurra.run(path, runs=tmp_path)
    assert run.result["steps"] == 20
    assert all(math.isfinite(value) for value in run.result["metrics"].values())
    assert run.result["generated" if run.resolved.target.generates else "baselines"]


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(e.component.name, marks=[pytest.mark.slow] if row % 6 else [])
        for row, e in enumerate(CELLS)
    ],
)
def test_every_cell_stands_in_a_deep_stack(cell: str, tmp_path: Path) -> None:
    """Four blocks with convolution and feed-forward learn the word's letters better than their
    frequencies do.
    """
    more = "num_layers = 4\n[cell.stack.block]\nconvolution = 4\nfeed_forward = 2.0\n"
    run = recurra.run(
        task_of(cell, "hello_lstm", tmp_path, more), {"training.steps": 60}, runs=tmp_path
    )
    assert run.result["metrics"]["nats"] < run.result["baselines"]["unigram"]["nats"] - 0.5


def test_a_task_that_needs_what_a_cell_lacks_is_refused(tmp_path: Path) -> None:
    """The refusal names the capability, the reason in the task, and the cells that have it."""
    code = block("python", "# leaky.py")
    code = code.replace("summary=", 'lacks=("resets", "float64"), summary=')
    (tmp_path / "leaky.py").write_text(code, encoding="utf-8")
    more = '[plugins]\nfiles = ["leaky.py"]\n[device]\nprecision = "float64"\n'
    path = task_of("leaky", "python_docs", tmp_path, more)
    with pytest.raises(recurra.InputError) as caught:
        recurra.check(path)
    facts = {problem.fact for problem in caught.value.problems}
    assert len(facts) == 2
    assert any("'leaky' lacks resets" in fact and "sequence.carry = true" in fact for fact in facts)
    assert any(
        "'leaky' lacks float64" in fact and 'precision = "float64"' in fact for fact in facts
    )
    for problem in caught.value.problems:
        assert problem.key == "cell.stack[0].kind" and problem.place.line
        assert "lstm" in problem.allowed and "leaky" not in problem.allowed
    free = task_of("leaky", "hello_lstm", tmp_path, '[plugins]\nfiles = ["leaky.py"]\n')
    assert recurra.check(free)["parameters"] > 0


@pytest.mark.parametrize(("norm", "code"), [("rms", 2), ("layer", 2)])
def test_a_block_that_would_see_only_signs_is_refused(norm: str, code: int, tmp_path: Path) -> None:
    """On a series of one number the norm of a block would leave its sign alone; a wider encoder is
    the cure.
    """
    ended = command(
        "check", REPOSITORY / "tasks" / "airline.toml", "-o", f'cell.block={{norm="{norm}"}}'
    )
    ended.fails(code, "[RC031]", "leaves only the sign", 'kind = "linear"')


def test_an_encoder_that_lacks_what_a_task_needs_is_refused(tmp_path: Path) -> None:
    """What an encoder declares counts as what a cell does."""
    (tmp_path / "torn.py").write_text(
        "from recurra import Component, Encoder, Options, hookimpl\nclass Torn(Encoder):\n   "
        " output_size = 1\n    def forward(self, x):\n        return"
        " x.unsqueeze(-1).float()\n@hookimpl\ndef recurra_components():\n    return"
        " [Component(kind='encoder', name='torn', target='torn:Torn', options='recurra:Options',"
        " summary='no float64', lacks=('float64',))]\n",
        encoding="utf-8",
    )
    more = (
        '[plugins]\nfiles = ["torn.py"]\n[encoder]\nkind = "torn"\n[device]\nprecision ='
        ' "float64"\n'
    )
    ended = command("check", task_of("lstm", "hello_lstm", tmp_path, more))
    ended.fails(2, "encoder.kind", "[RC031]", "'torn' lacks float64", "one_hot")


def row(entry: Entry) -> str:
    """Return the line of the page's table that is true of a cell."""
    with torch.device("meta"):
        cell = entry.target(128, entry.options(hidden_size=128))
    form = next(
        form
        for form in (recurra.GatedCell, recurra.ScanCell, recurra.Cell)
        if isinstance(cell, form)
    )
    count = sum(weight.numel() for weight in cell.parameters())
    standing = certificate.standing(entry)
    level = standing.level if standing.state == "proved" else standing.state
    return (
        f"| `{entry.component.name}` | {entry.component.cite} | `{form.__name__}` | {count:,} |"
        f" {level} |"
    )


def test_the_page_shows_the_registry() -> None:
    """Cell, paper, form, parameters at 128 and contract level: as they are."""
    table = section(page("cells"), "## The cells")
    shown = {line for line in table.splitlines() if line.startswith("| `")}
    assert shown == {row(entry) for entry in CELLS}
