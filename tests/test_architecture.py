"""The rooms of the engine stand in one order, and nobody reaches over a wall."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

import recurra

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
    "engine",
    "contracts",
    "catalog",
    "spec",
    "data",
    "model",
    "runs",
    "train",
    "generate",
    "resolve",
    "fit",
    "blame",
    "job",
    "verbs",
    "testing",
    "scaffold",
    "doctor",
    "bench",
    "cli",
    "__main__",
]
"""A file imports only from its own room and from those above it. `testing` is what plugin authors call."""

FACE = CORE / "__init__.py"
"""The public face stands outside the order: it loads each name when it is first used."""

FILES = sorted(path for path in CORE.rglob("*.py") if path != FACE)
PLUGIN_FILES = sorted(PLUGINS.rglob("*.py"))
PLUGIN_NAMES = sorted(path.name for path in PLUGINS.iterdir() if (path / "__init__.py").exists())


def room(path: Path) -> str:
    """Return the room in which a file stands."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imports(text: str) -> Iterator[tuple[int, str]]:
    """Give line and dotted name of everything imported, at the top, in a function or for a type checker alone."""
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
        home = recurra._HOME.get(parts[1], name)  # a name of the public face lives in a room as well
        there = home.split(".")[1] if home.startswith("recurra.") else own
        if there not in ROOMS or ROOMS.index(there) > ROOMS.index(own):
            wrong.append(f"{line}: {name}")
    return wrong


def test_every_file_stands_in_a_room() -> None:
    """The list of rooms is complete, and names none that is gone (`testing` may still be empty)."""
    found = {room(path) for path in FILES}
    assert found <= set(ROOMS)
    assert set(ROOMS) - found <= {"testing"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_no_file_imports_from_below(path: Path) -> None:
    """A file imports from its own room and those above; what is imported in a function, or for types, counts too."""
    assert upward(path.read_text(encoding="utf-8"), room(path)) == []


@pytest.mark.parametrize(
    "text",
    [
        "from recurra.train.loop import Trainer",
        "import recurra.train.loop",
        "from recurra import verbs",
        "from recurra import run",
        "def f():\n    from recurra.cli import main",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from recurra.job.data import Data",
        "from recurra.no_such_room import x",
    ],
)
def test_an_import_from_below_is_seen(text: str) -> None:
    """The check itself finds each form of an import that runs the wrong way."""
    assert len(upward(text, "data")) == 1
    assert upward("from recurra.errors import InputError\nimport torch\nfrom recurra.data import store", "data") == []


@pytest.mark.parametrize("path", [*FILES, FACE], ids=lambda path: str(path.relative_to(CORE)))
def test_no_core_file_names_a_plugin(path: Path) -> None:
    """The engine knows no plugin's module, its own distribution's neither: they are found through entry points."""
    named = re.findall("|".join(rf"\b{name}\b" for name in PLUGIN_NAMES), path.read_text(encoding="utf-8"))
    assert named == []


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_a_plugin_sees_the_public_face_alone(path: Path) -> None:
    """A first-party plugin imports what a third party may: `recurra` itself, and of other plugins nothing."""
    own = path.relative_to(PLUGINS).parts[0]
    for line, name in imports(path.read_text(encoding="utf-8")):
        first, _, rest = name.partition(".")
        assert first not in set(PLUGIN_NAMES) - {own}, f"line {line}: {name} is another plugin's"
        if first == "recurra":
            assert rest in {"", *recurra.__all__}, f"line {line}: {name} is not of the public face"


@pytest.mark.parametrize("path", [*FILES, FACE, *PLUGIN_FILES], ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_file_is_long(path: Path) -> None:
    """A file that is over 500 lines is two files."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize("path", sorted((CORE / "train").glob("*.py")), ids=lambda path: path.name)
def test_training_knows_no_folder(path: Path) -> None:
    """What happens in training is given as events: whoever listens writes it, and the loop knows of no folder."""
    assert not [name for _, name in imports(path.read_text(encoding="utf-8")) if name.startswith("recurra.runs.folder")]


def test_a_loss_is_built_in_one_place() -> None:
    """One loss a run, which its network owns: no other file of the core builds one."""
    builders = [
        path for path in FILES if re.search(r'parts\["loss"\](?!\.entry|\.options)', path.read_text(encoding="utf-8"))
    ]
    assert [str(path.relative_to(CORE)) for path in builders] == ["job/build.py"]


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
    """Each folder of plugins/ has its entry point, is packed into the wheel, and is checked for types."""
    assert sorted(PROJECT["project"]["entry-points"]["recurra.plugins"].values()) == PLUGIN_NAMES
    packed = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(packed) == ["core/recurra", *(f"plugins/{name}" for name in PLUGIN_NAMES)]
    assert sorted(PROJECT["tool"]["mypy"]["packages"]) == ["recurra", *PLUGIN_NAMES]


def test_there_is_one_version() -> None:
    """The package and its metadata agree on the version."""
    assert PROJECT["project"]["version"] == recurra.__version__
