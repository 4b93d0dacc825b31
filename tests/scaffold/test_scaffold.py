"""A new plugin of every kind and form works as it is written: installed, listed, run, tested,
linted and typed.
"""

from __future__ import annotations

import ast
import errno
import json
import keyword
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import REPOSITORY
from pages import PAGES
from terminal import Ended, command, process

import recurra
from recurra.catalog import discover
from recurra.contracts.component import TRACKER
from recurra.scaffold import project
from recurra.testing.suite import examine, prescribed


class Made(NamedTuple):
    """A distribution to write: what is asked for, and the name."""

    kind: str
    form: str | None
    name: str

    @property
    def folder(self) -> str:
        """The folder that is written."""
        return f"recurra-{self.name.replace('_', '-')}"

    def arguments(self) -> list[str]:
        """Return the arguments of `plugins new`."""
        return [self.name, "--kind", self.kind, *(["--form", self.form] if self.form else [])]


ALL = [
    Made("cell", "cell", "drip"),
    Made("cell", "gated", "polkadot"),
    Made("cell", "scan", "plugin"),
    Made("encoder", None, "bumps2"),
    Made("source", None, "addends"),
    Made("loss", None, "linear"),
    Made("vocabulary", None, "most_frequent"),
    Made("target", None, "tongue"),
    Made("tracker", None, "notebook2"),
]
"""Each kind and form once, with names that a careless scaffold would stumble over."""

each = pytest.mark.parametrize("made", ALL, ids=lambda made: "-".join(filter(None, made[:2])))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write every distribution into one folder, and install them all beside, as pip does."""
    home = tmp_path_factory.mktemp("new")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for made in ALL:
            command("plugins", "new", *made.arguments()).tidy(0)
    flags = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--no-compile",
        "--disable-pip-version-check",
        "-q",
    ]
    line = [sys.executable, "-m", "pip", "install", *flags, "--target", str(home / "site")]
    subprocess.run(
        [*line, *(str(home / made.folder) for made in ALL)],
        check=True,
        capture_output=True,
        cwd=home,
    )
    return home


def inside(home: Path, made: Made, *line: str, limit: int = 120) -> str:
    """Run a Python module in a written folder, where the distributions are installed; return what
    it said.
    """
    world = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    world |= {"PYTHONPATH": str(home / "site"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *line],
        capture_output=True,
        text=True,
        cwd=home / made.folder,
        env=world,
        timeout=limit,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


# what is written


@each
def test_nothing_is_left_to_fill_in(home: Path, made: Made) -> None:
    """No file holds a placeholder, a name of the templates or another component's name; nothing
    lies beside it.
    """
    for path in (home / made.folder).rglob("*"):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        text = text.replace("${{ matrix.python }}", "")
        assert not re.search(r"\$|NAME|TODO|FIXME|tmpl", f"{path.name} {text}"), path
    names = sorted(path.name for path in home.iterdir())
    assert names == sorted(["site", *(made.folder for made in ALL)])


@each
def test_it_holds_what_a_distribution_should(home: Path, made: Made) -> None:
    """Project, package, task, CI, and what git ignores; readable like any other new folder."""
    folder = home / made.folder
    package = f"recurra_{made.name}"
    own = {
        f"{package}/{name}"
        for name in ("__init__.py", "plugin.py", "options.py", f"{made.kind}.py", "py.typed")
    }
    whole = own | {
        "pyproject.toml",
        "README.md",
        f"{made.name}.toml",
        ".github/workflows/test.yml",
        ".gitignore",
    }
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {name for name in files if "__pycache__" not in name and "/runs/" not in name} >= whole
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((home / "site").stat().st_mode)


@each
def test_its_wheel_holds_the_package_alone(home: Path, made: Made) -> None:
    """What is published is the package with its marker for type checkers."""
    package = f"recurra_{made.name}"
    (info,) = (home / "site").glob(f"{package}-0.1.0.dist-info")
    rows = [line.split(",")[0] for line in (info / "RECORD").read_text().splitlines()]
    assert {row.split("/")[0] for row in rows} == {package, info.name}
    assert f"{package}/py.typed" in rows


@each
def test_its_project_says_what_it_needs(home: Path, made: Made) -> None:
    """recurra from the running version up to the next major one, and the one line that tests it."""
    found = tomllib.loads((home / made.folder / "pyproject.toml").read_text())
    major = int(recurra.__version__.split(".")[0])
    assert found["project"]["name"] == made.folder
    assert found["project"]["dependencies"] == [f"recurra>={recurra.__version__},<{major + 1}"]
    assert found["project"]["optional-dependencies"] == {"test": ["recurra[test]"]}
    assert found["project"]["entry-points"] == {
        "recurra.plugins": {made.name: f"recurra_{made.name}.plugin"}
    }
    # An encoder of recurra's has that name too.
    name = "recurra-linear/linear" if made.name == "linear" else made.name
    assert found["tool"]["pytest"]["ini_options"] == {"recurra_contract": [name]}
    (info,) = (home / "site").glob(f"recurra_{made.name}-0.1.0.dist-info")
    assert Parser().parsestr((info / "METADATA").read_text())["Name"] == made.folder


LIGHT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(f"recurra_{name}.plugin")
    importlib.import_module(f"recurra_{name}.options")
    print(name, "torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def imported(home: Path) -> list[str]:
    """Import plugin and options of each distribution, in one process; return whether torch was
    there after each.
    """
    world = {**os.environ, "PYTHONPATH": str(home / "site")}
    line = [sys.executable, "-c", LIGHT, *(made.name for made in ALL)]
    return subprocess.run(
        line, capture_output=True, text=True, env=world, check=True
    ).stdout.splitlines()


@each
def test_its_options_come_without_torch(imported: list[str], made: Made) -> None:
    """A task file is checked before torch is imported."""
    assert f"{made.name} False" in imported


# that it works


def test_all_are_listed(home: Path) -> None:
    """Each is found, loads, and says nothing that it should not."""
    listed = process("plugins", "list", "--json", path=home / "site").tidy(0).last
    found = {(c["kind"], c["qualified"]) for c in listed["components"]}
    assert {(made.kind, f"{made.folder}/{made.name}") for made in ALL} < found
    assert all(plugin["status"] == "ok" and not plugin["warnings"] for plugin in listed["plugins"])


def test_the_doctor_finds_nothing(home: Path) -> None:
    """All of them installed at once are sound."""
    found = process("plugins", "doctor", "--json", path=home / "site").tidy(0).last
    assert found["faults"] == 0, found


@pytest.fixture
def there(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put what is installed on this process's path, in an empty folder."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(home / "site")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in {f"recurra_{made.name}" for made in ALL}:
            del sys.modules[name]


@each
def test_its_task_runs(home: Path, made: Made, there: Path) -> None:
    """The task beside it trains with it, and reaches what it expects."""
    done = command("run", home / made.folder / f"{made.name}.toml", "--expect", "--json").tidy(0)
    run = there / done.last["run"]
    if made.kind == TRACKER:
        # It is no part of the run.
        followed = json.loads((run / "tracking" / f"{made.name}.json").read_text())
        assert followed["kind"] == f"{made.folder}/{made.name}"
        assert (run / "tracking" / made.name).is_dir()
        return
    used = json.loads((run / "plugins.json").read_text())
    assert (made.kind, f"{made.folder}/{made.name}") in {
        (part["kind"], part["name"]) for part in used
    }


def test_the_linter_has_nothing_to_say(home: Path) -> None:
    """Checked and formatted, by the rules of recurra's own plugins."""
    for made in ALL:
        inside(home, made, "ruff", "check", "--no-cache", ".")
        inside(home, made, "ruff", "format", "--no-cache", "--check", ".")
    rules = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    select, ignore = ",".join(rules["select"]), ",".join(rules["ignore"])
    inside(
        home,
        ALL[0],
        "ruff",
        "check",
        "--no-cache",
        "--select",
        select,
        "--ignore",
        ignore,
        "..",
        "--exclude",
        "site",
    )


@pytest.mark.slow
@each
def test_its_types_are_right(home: Path, made: Made) -> None:
    """Bare `mypy`, strict as the project asks for it, has nothing to say."""
    assert "no issues found in 4 source files" in inside(
        home, made, "mypy", "--cache-dir=../site/.mypy"
    )


ELSEWHERE = ("P02", "P03", "C21")
"""Checks that start processes, which import torch."""


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(
            made,
            id="-".join(filter(None, made[:2])),
            # A cell of gates is tried by default where recurra's own are.
            marks=[pytest.mark.slow] if made.form == "gated" else [],
        )
        for made in ALL
    ],
)
def test_its_contract_holds(made: Made, there: Path) -> None:
    """The suite's core, but for what starts processes, passes every check."""
    (entry,) = [e for e in discover().of_kind(made.kind) if e.plugin.distribution == made.folder]
    checks = [check.id for check in prescribed(made.kind) if check.id not in ELSEWHERE]
    report = examine(entry, only=checks)
    assert report.ok, [record for record in report.records if record.verdict not in ("PASS", "N/A")]
    assert report.counts["PASS"] >= 10


def test_bare_pytest_is_green(home: Path) -> None:
    """Without a test file, `pytest` runs the suite; here of the source, whose checks are quick,
    without the slow ones.

    Under `-m slow` it runs all of them, of each distribution.
    """
    source = next(made for made in ALL if made.kind == "source")
    assert_green(
        inside(home, source, "pytest", "-k", f"not ({' or '.join(ELSEWHERE)})"), at_least=10
    )


@pytest.mark.slow
def test_an_editable_install_is_tested_too(home: Path, tmp_path: Path) -> None:
    """`pip install -e .`, with hatchling alone beside it, and `pytest` finds the checks of the code
    that is edited.
    """
    made = ALL[0]
    shutil.copytree(home / made.folder, tmp_path / made.folder)
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    (packages,) = place.rglob("site-packages")
    borrowed = [
        f"import site; site.addsitedir({sysconfig.get_path(name)!r})"
        for name in ("purelib", "platlib")
    ]
    (packages / "borrowed.pth").write_text(
        "\n".join(dict.fromkeys(borrowed)) + "\n", encoding="utf-8"
    )
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q"]
    line = [sys.executable, "-m", "pip", "--python", str(python), "install", *flags, "-e", "."]
    subprocess.run(line, check=True, capture_output=True, cwd=tmp_path / made.folder)
    world = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    line = [str(python), "-m", "pytest", "--collect-only", "-q"]
    done = subprocess.run(
        line, capture_output=True, text=True, cwd=tmp_path / made.folder, env=world, check=False
    )
    assert done.returncode == 0 and "contract::drip::C02" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
@each
def test_its_contract_holds_in_full(home: Path, made: Made) -> None:
    """Bare `pytest`, at level full as it is by default, is green for each."""
    assert_green(inside(home, made, "pytest", limit=600), at_least=12)


def assert_green(said: str, at_least: int) -> None:
    """Check that a test run passed, with more than a few checks."""
    passed = re.search(r"(\d+) passed", said)
    assert passed and int(passed[1]) >= at_least, said
    assert not re.search(r"failed|error|xpassed", said.splitlines()[-1]), said


# the command


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to write in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder


def new(*arguments: str) -> Ended:
    """Call `plugins new`."""
    return command("plugins", "new", *arguments)


def test_it_says_what_to_do_next(here: Path) -> None:
    """The command names the folder, and the four lines that follow."""
    lines = new("drip", "--kind", "cell").tidy(0).out.splitlines()
    assert lines[0].startswith("wrote recurra-drip: ") and "recurra_drip/cell.py" in lines[0]
    said = [line.strip() for line in lines[2:]]
    assert said == [
        "cd recurra-drip",
        "pip install -e '.[test]'",
        "pytest",
        "recurra run drip.toml",
    ]


def test_json_names_every_file(here: Path) -> None:
    """With --json the folder and all that is in it come as data."""
    found = new("drip", "--kind", "cell", "--json").tidy(0).last
    there = sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file())
    assert found == {"folder": "recurra-drip", "written": there}


def test_a_cell_is_gated_unless_it_is_said(here: Path) -> None:
    """Without --form a cell is written as what happens between its gates."""
    new("drip", "--kind", "cell").tidy(0)
    assert (
        "class Drip(GatedCell[DripOptions]):"
        in (here / "recurra-drip/recurra_drip/cell.py").read_text()
    )


BAD_NAMES = {
    "Drip": "did you mean: drip",
    "my-drip": "did you mean: my_drip",
    "my drip": "did you mean: my_drip",
    "drip_": "did you mean: drip",
    "my__drip": "did you mean: my_drip",
    "3drip": "a letter first",
    "_": "a letter first",
    "": "a letter first",
    "tröpfeln": "lower case letters",
    "../drip": "did you mean: drip",
    "drip\n": "lower case letters",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_none(here: Path, name: str) -> None:
    """What cannot be a component's name is refused with what can, and nothing is written."""
    new(name, "--kind", "cell").fails(2, "[RC080]", "cannot be a component's name", BAD_NAMES[name])
    assert list(here.iterdir()) == []


TAKEN = [
    ("class", "cell", "Python keeps this word"),
    ("lstm", "cell", "recurra has one of this name"),
    ("inline", "source", "recurra has one of this name"),
    ("one_hot", "encoder", "recurra has one of this name"),
    ("cells", "source", "there is a package recurra_cells already"),
    ("cell", "cell", "its class Cell, or CellOptions, would hide a name"),
    ("gated", "cell", "would hide a name"),
    ("pyproject", "cell", "its task would be pyproject.toml"),
    ("tensor", "loss", "would hide a name"),
    ("kappa", "target", "would hide a name"),
    ("label", "target", "recurra has one of this name"),
]


@pytest.mark.parametrize(("name", "kind", "why"), TAKEN)
def test_a_name_that_is_taken(here: Path, name: str, kind: str, why: str) -> None:
    """A name that could not be used, though it is well-formed, is refused with the reason."""
    new(name, "--kind", kind).fails(2, "[RC080]", f"can be called {name!r}", why, f"my_{name}")
    assert list(here.iterdir()) == []


def test_a_name_of_another_kind_is_free(here: Path) -> None:
    """A kind and a name together mean a component, so `lstm` may be an encoder."""
    new("lstm", "--kind", "encoder").tidy(0)
    assert (
        'recurra_contract = ["recurra-lstm/lstm"]'
        in (here / "recurra-lstm/pyproject.toml").read_text()
    )


def test_no_class_hides_what_its_module_imports(home: Path) -> None:
    """Every name that an example imports and that a class of it could have is refused
    beforehand.
    """
    for made in ALL:
        for path in (home / made.folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                given = isinstance(node, ast.ImportFrom) and not str(node.module).startswith(
                    "recurra_"
                )
                for name in {alias.name for alias in node.names} - {"annotations"} if given else ():
                    short = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
                    if project.NAME.fullmatch(short) and project.class_name(short) == name:
                        assert project.why_not(short), f"{short} would hide {name} of {path}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--kind", "celll"],
            ["there is no kind 'celll'", "did you mean: cell", "vocabulary, target, encoder"],
        ),
        (["--kind", "Cell"], ["there is no kind 'Cell'", "did you mean: cell"]),
        (
            ["--kind", "cell", "--form", "gate"],
            ["no form 'gate'", "did you mean: gated", "cell, gated, scan"],
        ),
        (["--kind", "loss", "--form", "scan"], ["--form is for cells alone"]),
    ],
)
def test_a_kind_or_form_that_is_none(here: Path, arguments: list[str], words: list[str]) -> None:
    """An unknown kind or form is refused with those that there are."""
    new("drip", *arguments).fails(2, "[RC080]", *words)
    assert list(here.iterdir()) == []


def test_a_kind_must_be_said(here: Path) -> None:
    """There is no kind that most plugins are."""
    assert "--kind" in new("drip").tidy(2).err


@pytest.mark.parametrize("there", ["folder", "empty folder", "file", "dangling link"])
def test_nothing_is_overwritten(here: Path, there: str) -> None:
    """Whatever stands in the place of the folder stays as it is."""
    path = here / "recurra-drip"
    if "folder" in there:
        path.mkdir()
    if there == "folder":
        (path / "mine.txt").write_text("mine")
    if there == "file":
        path.write_text("mine")
    if there == "dangling link":
        path.symlink_to("nowhere")
    before = sorted(here.rglob("*"))
    new("drip", "--kind", "cell").fails(2, "[RC080]", "recurra-drip is already there")
    assert sorted(here.rglob("*")) == before


def test_a_folder_that_cannot_be_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing may be written, the message says so."""

    def refuse(path: Path, *arguments: object, **more: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)  # root, whom a mode does not stop, may run the tests
    new("drip", "--kind", "cell").fails(
        2, "[RC050]", "recurra-drip cannot be written: Permission denied"
    )
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("at", range(1, 10, 4))
def test_a_write_that_fails_leaves_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """A disk that is full at any file leaves no half of a distribution."""
    count, write = iter(range(1, 99)), Path.write_text

    def full(path: Path, *arguments: str, **more: str) -> int:
        if next(count) == at:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, *arguments, **more)

    monkeypatch.setattr(Path, "write_text", full)
    new("drip", "--kind", "cell").fails(2, "[RC050]", "No space left on device", "nothing was")
    assert list(here.iterdir()) == []


def test_two_at_once_make_one(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that appears between the look and the last step is not overwritten either."""
    rename = Path.rename

    def late(path: Path, target: Path) -> Path:
        target.mkdir()
        (target / "theirs.txt").write_text("theirs")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    new("drip", "--kind", "cell").fails(2, "[RC050]", "recurra-drip cannot be written")
    assert [path.name for path in here.rglob("*")] == ["recurra-drip", "theirs.txt"]


def test_no_keyword_is_taken() -> None:
    """None of Python's words can be a name, in any kind."""
    for word in filter(project.NAME.fullmatch, keyword.kwlist):
        assert project.why_not(word)


def test_nothing_links_to_where_recurra_is_not() -> None:
    """No text that is written for an author, nor what is told of the package, gives an address of
    recurra's.
    """
    texts = [path.read_text(encoding="utf-8") for path in project.TEMPLATES.rglob("*.tmpl")]
    texts += [*PAGES.values(), (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")]
    assert not [found for text in texts for found in re.findall(r"https?://\S*recurra\S*", text)]
