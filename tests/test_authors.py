"""Each example for authors is a whole plugin file that runs its task and keeps its contract."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from pages import PAGES, block, blocks, page, prose, quoted, rows, section
from pydantic import ValidationError
from terminal import command

import recurra
from recurra.contracts.component import API, KINDS, Component
from recurra.contracts.metric import Figure
from recurra.contracts.options import CellOptions, GatedOptions, Options, SymbolOptions
from recurra.contracts.source import Piece, Role
from recurra.contracts.target import Examples, Window
from recurra.contracts.vocabulary import Element
from recurra.errors import CODES, InputError, Problem
from recurra.spec import shipped
from recurra.testing import find
from recurra.testing.suite import Examination

EXAMPLES = {
    "fasta": ["motifs.fasta"],
    "capitals": ["hello_lstm.toml"],
    "ranked": [],
    "change": ["wave.toml"],
    "laplace": ["wave.toml"],
    "diary": ["hello_gru.toml"],
}
"""What authors are shown beside cells, each with the files that its task needs."""
CELLS = ["unit", "leaky", "keeping", "fading"]
IN_A_PROCESS = {"P03", "C21"}
"""Checks that import torch in a process of its own, which takes some seconds."""


def written(path: Path) -> None:
    """Write what the pages show of a file, a shipped task, or an example with all that it needs."""
    if path.name in {f"{name}.toml" for name in shipped.tasks()}:
        shipped.copy(path.stem, path.parent)
    elif path.suffix == ".fasta":
        path.write_text(block("", ">"), encoding="utf-8")
    elif path.suffix == ".toml":
        path.write_text(block("toml", f"# {path.name}\n"), encoding="utf-8")
    else:
        path.write_text(block("python", f"# {path.name}\n"), encoding="utf-8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, where no path is measured: nothing here is about time."""
    monkeypatch.setenv("RECURRA_MEASURE", "0")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def example(name: str, folder: Path) -> Path:
    """Write an example with its task and all that it needs; return the plugin file."""
    for other in [*EXAMPLES.get(name, []), f"{name}.toml"]:
        written(folder / other)
    file = folder / f"{name}.py"
    written(file)
    return file


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_does_what_its_task_expects(name: str, here: Path) -> None:
    """Copied as it stands, each runs its task, whose bands tell whether it learned anything."""
    example(name, here)
    command("run", f"{name}.toml", "--expect").tidy(0)


def verdicts(file: Path, name: str, without: set[str]) -> dict[str, str]:
    """Return what the contract suite says of an example, by check; what passes is left out."""
    (entry,) = find(name, files=[file])
    whole = Examination(entry, "core")
    chosen = [check.id for check in whole.checks if check.id not in without]
    records = whole.examine(chosen).records
    assert records
    return {r.check.id: str(r) for r in records if r.verdict not in ("PASS", "N/A")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_keeps_its_contract(name: str, here: Path) -> None:
    """The contract suite finds no fault in it, and nothing is waived."""
    file = example(name, here)
    assert verdicts(file, name, IN_A_PROCESS) == {}
    (entry,) = find(name, files=[file])
    assert not entry.component.waivers and not entry.component.lacks


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EXAMPLES, *CELLS])
def test_every_example_keeps_every_law(name: str, here: Path) -> None:
    """Cells of the pages, and checks that take a process of their own, with them."""
    if name in EXAMPLES:
        file = example(name, here)
    else:
        file = here / ("forms.py" if name in ("keeping", "fading") else f"{name}.py")
        written(file)
    assert verdicts(file, name, set()) == {}


def test_there_is_an_example_of_each_kind(here: Path) -> None:
    """Each kind of component has one, which is written for the API of today."""
    kinds = set()
    for name in EXAMPLES:
        (entry,) = find(name, files=[example(name, here)])
        kinds.add(entry.component.kind)
        assert entry.component.api == ".".join(map(str, API))
    assert kinds | {"cell"} == set(KINDS)
    told = rows(page("authors").partition("## A plugin file")[0])
    assert {re.sub(r"\W.*", "", row[0].strip("[")) for row in told} == set(KINDS)


def test_records_of_another_file_are_answered(here: Path) -> None:
    """The source of the page reads a new file, and names its records."""
    example("fasta", here)
    command("run", "fasta.toml").tidy(0)
    Path("new.fasta").write_text(">x1 any words\nGPPGPP\nGKP\n>x2\nLEELEELEK\n")
    command("predict", "runs/fasta", "new.fasta", "--output", "answers.csv").tidy(0)
    head, *answers = Path("answers.csv").read_text().splitlines()
    assert head == "record,predicted,p:coil,p:collagen"
    assert [answer.split(",")[:2] for answer in answers] == [["x1", "collagen"], ["x2", "coil"]]


BAD = {
    "": "nothing",
    "GPP\n": "line 1",
    ">a x\n>b x\nGPP\n": "line 2",
    ">a x\nGPP\n>b x\n": "line 3",
    ">\nGPP\n": "line 1",
    ">a x\nGP\xc4\n": "",
}
"""Files that are no FASTA, and what the error says of the place."""


@pytest.mark.parametrize("text", BAD)
def test_bad_records_are_told(text: str, here: Path) -> None:
    """A file that is no FASTA is refused with its name, the line, and the key of the task."""
    example("fasta", here)
    Path("motifs.fasta").write_text(text, encoding="utf-8")
    command("check", "fasta.toml").fails(2, "source.path", "motifs.fasta", BAD[text], "[RC04")


def executed(begins: str) -> dict[str, Any]:
    """Return the names that a block of a page defines."""
    names: dict[str, Any] = {}
    code = compile(block("python", begins), "page.md", "exec", dont_inherit=True)
    exec(code, names)
    return names


def test_a_rule_between_options_is_told_at_its_key() -> None:
    """The model of the page refuses by the key with which the message begins."""
    model = executed("# options\n")["ExampleOptions"]
    assert issubclass(model, Options) and model(path="x").names == []
    with pytest.raises(ValidationError, match="width: mode exact"):
        model(path="x", mode="exact", width=65)


def test_the_error_of_the_page_is_raised() -> None:
    """What the page shows of an error is one, with every detail that there is but one."""
    with pytest.raises(InputError) as caught:
        executed("# error\n")
    (problem,) = caught.value.problems
    assert all((problem.key, problem.got, problem.allowed, problem.cure))


# what the pages tell of the contracts


def told(of: str) -> set[str]:
    """Return what the tables of the pages tell of something, `| of a Source | is |`, by name."""
    names: set[str] = set()
    for text in PAGES.values():
        for head, body in re.findall(
            r"^\| (of an? `\w+`) \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M
        ):
            if head.split("`")[1] == of:
                names |= {name for row in rows("\n" + body) for name in quoted(row[0])}
    return names


def public(contract: type) -> set[str]:
    """Return the attributes and methods that a contract defines itself."""
    names = {*vars(contract), *vars(contract).get("__annotations__", {})}
    return {name for name in names if not name.startswith("_")}


GIVEN = {"Encoder": {"size"}, "Loss": {"size", "output_size"}, "StatefulEncoder": set()}
"""What a constructor sets."""


@pytest.mark.parametrize(
    "name",
    [
        "Source",
        "Vocabulary",
        "Encoder",
        "StatefulEncoder",
        "Loss",
        "Distribution",
        "Target",
        "Metric",
    ],
)
def test_all_of_a_contract_is_told(name: str) -> None:
    """The table of a contract has a row for each attribute and each method, and no other."""
    contract = getattr(recurra, name)
    own = public(contract) | GIVEN.get(name, set())
    if name == "StatefulEncoder":
        own -= {"forward"}
    assert told(name) == own, f"docs/authors-*.md: | of a `{name}` | is |"


def test_all_of_a_component_is_told() -> None:
    """The table of a row that a plugin offers tells each of its fields."""
    assert told("Component") == {field.name for field in fields(Component)}


def test_all_that_an_error_can_say_is_told() -> None:
    """The table of an error tells each field of a problem; the codes that it names are there."""
    table = section(page("authors"), "## Errors")
    names = {name for row in rows(table) for name in quoted(row[0])}
    details = {field.name for field in fields(Problem)} - {"code", "fact", "place"}
    assert names == details
    assert {*re.findall(r"RC\d+", table)} <= CODES.keys()


def test_elements_and_roles_are_told() -> None:
    """What a piece holds is told for each element, and each role of a column."""
    text = section(page("authors-data"), "## A source")
    names = [name for row in rows(text) for name in quoted(row[0])]
    assert {*get_args(Element), *get_args(Role)} <= {*names}
    assert {"Piece.values", *Piece._fields} - {"values"} <= {*quoted(prose(text))}


@pytest.mark.parametrize("of", [Window, Examples, Figure])
def test_what_a_target_is_given_is_told(of: Any) -> None:
    """The page on targets names each field of what a target and a metric are given and give."""
    names = of._fields if hasattr(of, "_fields") else [field.name for field in fields(of)]
    inner = {"values", "low", "high", "begin", "size"}  # what `sequences()` gives, and its size
    words = re.findall(r"\w+", " ".join(quoted(prose(page("authors-target")))))
    assert {*names} - inner <= {*words}


def test_the_bases_of_options_are_told() -> None:
    """The table of bases says which keys each has."""
    table = {
        quoted(row[0])[0]: {*quoted(row[2])} for row in rows(section(page("authors"), "## Options"))
    }
    assert table["recurra.SymbolOptions"] == {*SymbolOptions.model_fields}
    assert table["recurra.CellOptions"] == {*CellOptions.model_fields}
    own = GatedOptions.model_fields.keys() - CellOptions.model_fields.keys()
    assert table["recurra.GatedOptions"] == own


def test_every_plugin_file_of_the_pages_is_tried() -> None:
    """A block that begins with the name of a file is one of those above, or of the README's."""
    names = [m[1] for body in blocks("python") if (m := re.match(r"# (\w+)\.py\n", body))]
    assert sorted(names) == sorted([*EXAMPLES, "unit", "leaky", "forms"])
    tasks = [m[1] for body in blocks("toml") if (m := re.match(r"# (\w+)\.toml\n", body))]
    assert sorted(tasks) == sorted([*EXAMPLES, "leaky", "wave", "digits_space"])
