"""The rooms of the engine stand in one order, and nobody reaches over a wall."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from conftest import REPOSITORY
from pages import quoted, rows, section

import recurra
from recurra.catalog import discover
from recurra.catalog.entries import HOME
from recurra.contracts.source import Role
from recurra.contracts.target import Elements

CORE = REPOSITORY / "core" / "recurra"
PLUGINS = REPOSITORY / "plugins"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))

ROOMS = [
    "errors",
    "surroundings",
    "shapes",
    "randomness",
    "system",
    "cache",
    "meeting",
    "peers",
    "world",
    "drawing",
    "engine",
    "contracts",
    "catalog",
    "spec",
    "data",
    "model",
    "runs",
    "train",
    "generate",
    "resolved",
    "resolve",
    "schema",
    "compatibility",
    "attribution",
    "reporting",
    "job",
    "verifying",
    "trials",
    "comparing",
    "sweeping",
    "verbs",
    "showing",
    "testing",
    "scaffold",
    "doctor",
    "upkeep",
    "bench",
    "cli",
    "__main__",
]
"""A file imports only from its own room and from those above it. `testing` is what plugin authors
call.
"""

FACE = CORE / "__init__.py"
"""The public face stands outside the order: it loads each name when it is first used."""

FILES = sorted(path for path in CORE.rglob("*.py") if path != FACE)
PLUGIN_FILES = sorted(PLUGINS.rglob("*.py"))
PLUGIN_NAMES = sorted(path.name for path in PLUGINS.iterdir() if (path / "__init__.py").exists())


KINDS_OF_ELEMENTS = frozenset(get_args(Elements))
ROLES = frozenset(get_args(Role))
TARGETS = frozenset(
    e.component.name for e in discover().of_kind("target") if e.plugin.distribution == HOME
)
"""The names of the targets that are shipped, of which some are roles of columns as well: a `label`
is asked for.
"""


def room(path: Path) -> str:
    """Return the room in which a file stands."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imports(text: str) -> Iterator[tuple[int, str]]:
    """Give line and dotted name of everything imported, at the top, in a function or for a type
    checker alone.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: an import says where from in full"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def upward(text: str, own: str) -> list[str]:
    """Return the imports of a file in the room `own` that run the wrong way."""
    wrong = []
    for line, name in imports(text):
        parts = name.split(".")
        if parts[0] != "recurra" or len(parts) == 1:
            continue
        # A name of the public face lives in a room as well.
        home = recurra._HOME.get(parts[1], name)
        there = home.split(".")[1] if home.startswith("recurra.") else own
        if there not in ROOMS or ROOMS.index(there) > ROOMS.index(own):
            wrong.append(f"{line}: {name}")
    return wrong


def test_every_file_stands_in_a_room() -> None:
    """The list of rooms is complete, and names none that is gone (`testing` may still be empty)."""
    found = {room(path) for path in FILES}
    assert found <= set(ROOMS)
    assert set(ROOMS) - found <= {"testing"}


def test_the_rooms_are_told_in_their_order() -> None:
    """CONTRIBUTING.md shows each room, from top to bottom (`__main__` is a line, and no room to
    live in).
    """
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = rows(section(text, "## The rooms of `core/recurra`"))
    assert [name for row in table for name in quoted(row[0])] == ROOMS[:-1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_no_file_imports_from_below(path: Path) -> None:
    """A file imports from its own room and those above; what is imported in a function, or for
    types, counts too.
    """
    assert upward(path.read_text(encoding="utf-8"), room(path)) == []


@pytest.mark.parametrize(
    "text",
    [
        "from recurra.train.loop import Trainer",
        "import recurra.train.loop",
        "from recurra import verbs",
        "from recurra import run",
        "def f():\n    from recurra.cli import main",
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from recurra.job.data import"
            " Data"
        ),
        "from recurra.no_such_room import x",
    ],
)
def test_an_import_from_below_is_seen(text: str) -> None:
    """The check itself finds each form of an import that runs the wrong way."""
    assert len(upward(text, "data")) == 1
    assert (
        upward(
            "from recurra.errors import InputError\nimport torch\nfrom recurra.data import store",
            "data",
        )
        == []
    )


@pytest.mark.parametrize("path", [*FILES, FACE], ids=lambda path: str(path.relative_to(CORE)))
def test_no_core_file_names_a_plugin(path: Path) -> None:
    """The engine knows no plugin's module, its own distribution's neither: they are found through
    entry points.
    """
    named = re.findall(
        "|".join(rf"\b{name}\b" for name in PLUGIN_NAMES), path.read_text(encoding="utf-8")
    )
    assert named == []


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_a_plugin_sees_the_public_face_alone(path: Path) -> None:
    """A first-party plugin imports what a third party may: `recurra` itself, and of other plugins
    nothing.
    """
    own = path.relative_to(PLUGINS).parts[0]
    for line, name in imports(path.read_text(encoding="utf-8")):
        first, _, rest = name.partition(".")
        assert first not in set(PLUGIN_NAMES) - {own}, f"line {line}: {name} is another plugin's"
        if first == "recurra":
            assert rest in {"", *recurra.__all__}, f"line {line}: {name} is not of the public face"


@pytest.mark.parametrize(
    "path", [*FILES, FACE, *PLUGIN_FILES], ids=lambda path: str(path.relative_to(REPOSITORY))
)
def test_no_file_is_long(path: Path) -> None:
    """A file that is over 500 lines is two files."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize("path", sorted((CORE / "train").glob("*.py")), ids=lambda path: path.name)
def test_training_knows_no_folder(path: Path) -> None:
    """What happens in training is given as events: whoever listens writes it, and the loop knows of
    no folder.
    """
    assert not [
        name
        for _, name in imports(path.read_text(encoding="utf-8"))
        if name.startswith("recurra.runs.folder")
    ]


def test_a_loss_is_built_in_one_place() -> None:
    """One loss a run, which its network owns: no other file of the core builds one."""
    builders = [
        path
        for path in FILES
        if re.search(r'parts\["loss"\](?!\.entry|\.options)', path.read_text(encoding="utf-8"))
    ]
    assert [str(path.relative_to(CORE)) for path in builders] == ["job/build.py"]


def words(node: ast.expr) -> set[object]:
    """Return the constants of which an expression is made, alone or in brackets; a call and a
    subscript give none.
    """
    match node:
        case ast.Constant():
            return {node.value}
        case ast.Tuple() | ast.List() | ast.Set():
            return {word for part in node.elts for word in words(part)}
        case ast.Dict():
            return {word for part in node.keys if part is not None for word in words(part)}
    return set()


def names(node: ast.expr) -> set[str]:
    """Return the last names of what is compared: `yields` of `data.vocabulary.yields`, alone, in
    brackets or a call.
    """
    inner = [part for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)]
    return {part.attr if isinstance(part, ast.Attribute) else part.id for part in inner}


def compared(text: str) -> Iterator[tuple[int, ast.cmpop | None, ast.expr, ast.expr]]:
    """Give line, operator and both sides of every comparison; of a `match`, what it is about and
    each constant.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            yield from (
                (node.lineno, *pair) for pair in zip(node.ops, sides, sides[1:], strict=False)
            )
        elif isinstance(node, ast.Match):
            yield node.subject.lineno, None, node.subject, node.subject
            held = [
                part
                for case in node.cases
                for part in ast.walk(case.pattern)
                if isinstance(part, ast.MatchValue)
            ]
            yield from ((part.value.lineno, None, node.subject, part.value) for part in held)


def asks_what_it_yields(text: str, literals: frozenset[str] = frozenset()) -> list[int]:
    """Return the lines that ask whether a vocabulary yields symbols or numbers, or what is one of
    the `literals`.

    Whether it is one of those that a component says it reads is no such question: no list of them
    stands there.
    """
    lines = []
    for line, operator, left, right in compared(text):
        listed = isinstance(operator, ast.In | ast.NotIn)
        if listed and not words(right):
            continue
        found = words(right) if listed else words(left) | words(right)
        if "yields" in names(left) | names(right) or literals & found:
            lines.append(line)
    return lines


def asks_which_target(text: str) -> list[int]:
    """Return the lines that ask for a target by its name: in a comparison, in a `match`, or as a
    key of a table.

    A name that is a role of a column too may be compared with a role: with what a target `asks`, or
    with a `role`. A table is one of roles if all its keys are, and one of them is no target.
    """
    lines = []
    for line, _, left, right in compared(text):
        found = (words(left) | words(right)) & TARGETS
        of_roles = {"asks", "role"} & (names(left) | names(right))
        if found - (ROLES if of_roles else set()):
            lines.append(line)
    for node in ast.walk(ast.parse(text)):
        keys = words(node) if isinstance(node, ast.Dict) else set()
        if keys & TARGETS and not (keys <= ROLES and keys - TARGETS):
            lines.append(node.lineno)  # type: ignore[attr-defined]
    return lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_nobody_asks_whether_it_is_symbols_or_numbers(path: Path) -> None:
    """What differs stands in an object, looked up by what a vocabulary yields: a table a room, and
    never a branch.

    The checks of components go through the kinds that one says it reads, each by its name.
    """
    literals = frozenset[str]() if room(path) == "testing" else KINDS_OF_ELEMENTS
    assert asks_what_it_yields(path.read_text(encoding="utf-8"), literals) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_nobody_asks_which_target_it_is(path: Path) -> None:
    """The core knows a target by its contract: one name stands in the language, as its default."""
    text = path.read_text(encoding="utf-8")
    assert asks_which_target(text) == []
    assert room(path) == "spec" or "DEFAULT_TARGET" not in text


@pytest.mark.parametrize(
    "text",
    [
        'if vocabulary.yields == "numbers": pass',
        'x = 1 if "symbols" != self.answers.yields else 2',
        "same = one.yields == other.yields",
        'x = y.yields in ("symbols",)',
        'x = yields not in {"numbers": 1}',
        'x = getattr(v, "size") > 0 and v.yields is NUMBERS',
        'match vocabulary.yields:\n    case "symbols" | "numbers":\n        pass',
        "match v.yields:\n    case one:\n        pass",
        'x = str(v.yields) == "symbols"',
        'kind = v.yields\nx = kind == "numbers"',
        'x = kind in ["symbols", "others"]',
    ],
)
def test_a_question_for_what_is_yielded_is_seen(text: str) -> None:
    """The check itself finds each form of the question, and lets tables and memberships pass."""
    assert asks_what_it_yields(text, KINDS_OF_ELEMENTS)
    assert not asks_what_it_yields(
        'x = v.yields in loss.reads\ny = TABLE[v.yields]\nz = {"symbols": 1}[yields]'
    )
    assert not asks_what_it_yields(
        'x = "numbers" in loss.reads\ny = kind == "text"', KINDS_OF_ELEMENTS
    )


@pytest.mark.parametrize(
    "text",
    [
        'if part.name == "next": pass',
        'x = "label" != kind',
        'x = kind in ("next", "tags")',
        'x = kind not in {"label"}',
        'match name:\n    case "other" | "next":\n        pass',
        'x = {"next": 1, "other": 2}[name]',
        'x = {"label": 1}.get(name)',
        'x = target.asks == "next"',
    ],
)
def test_a_question_for_a_target_is_seen(text: str) -> None:
    """The check itself finds each form of the question, and lets the roles of columns pass."""
    assert asks_which_target(text)
    assert not asks_which_target(
        'x = target.asks == "label"\ny = role in ("input", "label")\nz = names["next"]'
    )
    assert not asks_which_target(
        'x = {"input": 1, "label": 2}[role]\nDEFAULT_TARGET = "next"\nnext(x)'
    )


@pytest.mark.parametrize("name", recurra.__all__)
def test_the_public_face_resolves(name: str) -> None:
    """Everything that `recurra` offers is there."""
    assert getattr(recurra, name) is not None
    assert name in dir(recurra)


def test_a_type_checker_sees_the_same_face() -> None:
    """What is imported for type checkers is what is loaded at run time, from the same place."""
    seen = {name.rpartition(".")[::-2] for _, name in imports(FACE.read_text(encoding="utf-8"))}
    loaded = {(name, home) for name, home in recurra._HOME.items()}
    assert loaded <= seen
    assert {name for name, home in seen if home.startswith("recurra.")} <= set(recurra.__all__)
    assert sorted(recurra._HOME) == sorted(recurra.__all__) == recurra.__all__


def test_what_the_face_does_not_have_is_an_attribute_error() -> None:
    """A misspelt name fails as it does in any module."""
    with pytest.raises(AttributeError, match="no attribute 'Cel'"):
        _ = recurra.Cel  # type: ignore[attr-defined]


@pytest.mark.parametrize("folder", ["core", "plugins", "tests"])
def test_folders_of_the_house_are_no_packages(folder: str) -> None:
    """`core`, `plugins` and `tests` are names of folders, never of something to import."""
    assert not (REPOSITORY / folder / "__init__.py").exists()


def test_the_project_lists_every_plugin() -> None:
    """Each folder of plugins/ has its entry point, is packed into the wheel, and is checked for
    types.
    """
    assert sorted(PROJECT["project"]["entry-points"]["recurra.plugins"].values()) == PLUGIN_NAMES
    packed = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(packed) == ["core/recurra", *(f"plugins/{name}" for name in PLUGIN_NAMES)]
    assert sorted(PROJECT["tool"]["mypy"]["packages"]) == ["recurra", *PLUGIN_NAMES]


def test_there_is_one_version() -> None:
    """The package and its metadata agree on the version."""
    assert PROJECT["project"]["version"] == recurra.__version__
