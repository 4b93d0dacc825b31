"""A certificate holds for the code that was examined, for what it promised, and for nothing
else.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from liars.reference import REFERENCE
from terminal import command

from recurra.catalog import Entry, Plugin, discover
from recurra.contracts.component import Component
from recurra.errors import InputError
from recurra.testing import suite
from recurra.testing.certificate import FILE, module_file, standing, write
from recurra.testing.check import SUITE
from recurra.testing.records import Record, Report

FILES = {
    "__init__.py": (
        "from recurra_paper.options import Nothing\nraise ImportError('a list imports nothing of"
        " this')\n"
    ),
    "cell.py": (
        "import torch\nfrom .helper import half\nfrom recurra_paper.options import PaperOptions\n"
    ),
    "options.py": "class PaperOptions: ...\n",
    "helper.py": "from . import deeper\nhalf = 0.5\n",
    "deeper.py": "deep = 1\n",
    "stranger.py": "import torch\n",
}
"""A package that cannot even be imported: its certificate is read all the same."""
COMPONENT = Component(
    "cell", "paper", "recurra_paper.cell:Paper", "recurra_paper.options:PaperOptions", "of paper"
)
PLUGIN = Plugin("paper", "recurra-paper", "1.0", "recurra_paper")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the package, where Python finds it."""
    folder = tmp_path / "site" / "recurra_paper"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder.parent))
    importlib.invalidate_caches()
    return folder


def entry(**changes: Any) -> Entry:
    """Return the component of the package, as the catalog would hold it."""
    return Entry(replace(COMPONENT, **changes), PLUGIN)


def report(*verdicts: str, level: Any = "full") -> Report:
    """Return a report with these verdicts."""
    records = tuple(
        Record(f"C{index:02}", "a law", verdict) for index, verdict in enumerate(verdicts, 1)
    )  # type: ignore[arg-type]
    return Report({}, level, records, len(records), ({},), 0, 1.0, "2.13", 0)


def test_code_without_a_certificate_is_unproved(package: Path) -> None:
    """Nothing is assumed."""
    assert str(standing(entry())) == "unproved"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (report("PASS", "PASS"), f"proved {SUITE}"),
        (report("PASS", "N/A"), f"proved {SUITE}"),
        (report("PASS", "WAIVED", "PASS"), f"proved {SUITE}, waived C02"),
        (report("PASS", "PASS", level="core"), f"proved {SUITE}, core only"),
        (report("PASS", "FAIL", "XPASS", "ERROR"), "failed C02 C03 C04"),
        (report("WAIVED", "FAIL"), "failed C02, waived C01"),
    ],
)
def test_a_certificate_says_what_was_found(given: Report, told: str, package: Path) -> None:
    """What failed and what is waived is in it, and a list shows it."""
    assert write(entry(), given) == package / FILE
    assert str(standing(entry())) == told
    data = json.loads((package / FILE).read_text(encoding="utf-8"))["cell/paper"]
    assert data["verdicts"] == given.counts
    assert data["suite"] == SUITE


@pytest.mark.parametrize("name", FILES)
def test_changed_code_is_stale(name: str, package: Path) -> None:
    """Target, options, and what they import of their own package count; other modules of the
    package do not.
    """
    write(entry(), report("PASS"))
    assert standing(entry()).state == "proved"
    (package / name).write_text(FILES[name] + "# another day\n", encoding="utf-8")
    counts = name not in ("__init__.py", "stranger.py")
    assert standing(entry()).state == ("stale" if counts else "proved")


@pytest.mark.parametrize(
    ("suite", "state"), [("0.9", "stale"), ("1.0", "stale"), (SUITE, "proved"), ("1.10", "proved")]
)
def test_a_certificate_of_an_earlier_suite_is_stale(suite: str, state: str, package: Path) -> None:
    """A suite that has grown holds a component to laws that nobody has tried on it; a later one
    holds it to all.
    """
    write(entry(), replace(report("PASS"), suite=suite))
    assert standing(entry()).state == state


def test_lost_code_is_stale(package: Path) -> None:
    """A module that is gone has changed."""
    write(entry(), report("PASS"))
    (package / "helper.py").unlink()
    assert standing(entry()).state == "stale"


def test_the_ends_of_lines_do_not_count(package: Path) -> None:
    """A checkout on Windows keeps its certificates."""
    write(entry(), report("PASS"))
    for name, text in FILES.items():
        (package / name).write_bytes(text.replace("\n", "\r\n").encode())
    assert standing(entry()).state == "proved"


@pytest.mark.parametrize(
    "changes",
    [{"waivers": {"C06": "by design"}}, {"lacks": ("resets",)}, {"claims": ("long_memory",)}],
    ids=str,
)
def test_changed_promises_are_stale(changes: dict[str, Any], package: Path) -> None:
    """A certificate is of what was promised when it was given; a new summary changes nothing."""
    write(entry(), report("PASS"))
    assert standing(entry(**changes)).state == "stale"
    assert standing(entry(summary="a new summary")).state == "proved"


def test_one_file_holds_all_of_a_folder(package: Path) -> None:
    """Components of one folder share a file, each under its kind and name; a new one takes the old
    one's place.
    """
    write(entry(), report("PASS"))
    write(entry(name="ink"), report("FAIL"))
    write(entry(kind="encoder"), report("PASS", "WAIVED"))
    assert [str(standing(entry(**c))) for c in ({}, {"name": "ink"}, {"kind": "encoder"})] == [
        f"proved {SUITE}",
        "failed C01",
        f"proved {SUITE}, waived C02",
    ]
    write(entry(name="ink"), report("PASS"))
    assert list(json.loads((package / FILE).read_text(encoding="utf-8"))) == [
        "cell/ink",
        "cell/paper",
        "encoder/paper",
    ]
    assert standing(entry(name="ink")).state == "proved"


ODD = (
    '{"cell/paper": {"suite": "one", "sources": {}, "declared": {}, "level": "full", "failed": [],'
    ' "waived": []}}'
)
DAMAGED = [
    "",
    ODD,
    "[]",
    "{",
    '{"cell/paper": {}}',
    '{"cell/paper": 3}',
    '{"cell/paper": {"sources": 3}}',
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_certificate_proves_nothing(text: str, package: Path) -> None:
    """A file that is not what was written is as good as none, and the next certificate takes its
    place.
    """
    (package / FILE).write_text(text, encoding="utf-8")
    assert standing(entry()).state == "unproved"
    write(entry(), report("PASS"))
    assert standing(entry()).state == "proved"


def test_a_certificate_is_the_same_each_time(package: Path) -> None:
    """It holds no time and no path, so that it can be kept under version control."""
    first = write(entry(), report("PASS")).read_bytes()
    assert write(entry(), replace(report("PASS"), seconds=99.0)).read_bytes() == first
    assert str(package).encode() not in first


def test_less_than_everything_gets_no_certificate(package: Path) -> None:
    """A report in which checks are missing certifies nothing."""
    with pytest.raises(InputError, match="only 2 of 3 prescribed checks ran"):
        write(entry(), replace(report("PASS", "PASS"), prescribed=3))
    assert standing(entry()).state == "unproved"


def test_a_module_that_cannot_be_found_gets_no_certificate() -> None:
    """Where there is no file there is no folder for a certificate, and nothing is proved."""
    lost = entry(target="recurra_nowhere.cell:Paper")
    assert standing(lost).state == "unproved"
    with pytest.raises(InputError, match="is not known"):
        write(lost, report("PASS"))


@pytest.mark.parametrize(
    "component", [e.component for e in discover().entries], ids=lambda c: f"{c.kind}-{c.name}"
)
def test_a_module_is_found_without_its_being_imported(component: Component) -> None:
    """The file of a target is where importing it finds it."""
    found = module_file(Entry(component, PLUGIN), component.target)
    assert found == Path(importlib.import_module(component.target.partition(":")[0]).__file__ or "")


def test_a_local_file_has_its_certificate_beside_it(tmp_path: Path) -> None:
    """A plugin of one file is examined and listed like any other."""
    file = tmp_path / "paper.py"
    file.write_text("import torch\n", encoding="utf-8")
    local = Entry(
        replace(COMPONENT, target="paper:Paper", options="paper:PaperOptions"),
        Plugin("paper", "file:paper.py", "sha256:0", str(file)),
    )
    assert write(local, report("PASS")) == tmp_path / FILE
    assert standing(local).state == "proved"
    file.write_text("import numpy\n", encoding="utf-8")
    assert standing(local).state == "stale"


def test_a_list_shows_what_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list has it in words, and as data."""
    catalog = discover()
    chosen = catalog.find("cell", "lstm")
    from recurra.cli import catalog_view
    from recurra.testing.certificate import Standing

    told = {"lstm": Standing("failed", "1.0", "full", ("C02",), ("C06",)), "gru": Standing("stale")}
    proved = Standing("proved", "1.0", "full")
    monkeypatch.setattr(catalog_view, "standing", lambda e: told.get(e.component.name, proved))
    lines = {line.split()[0]: line for line in command("plugins", "list").tidy(0).out.splitlines()}
    assert "failed C02, waived C06" in lines["lstm"]
    assert " stale " in lines["gru"]
    assert " proved 1.0 " in lines["rnn"]
    data = command("plugins", "list", "--json").tidy(0).last["components"]
    (listed,) = [c for c in data if (c["kind"], c["name"]) == ("cell", chosen.component.name)]
    assert listed["contract"] == {
        "state": "failed", "suite": "1.0", "level": "full", "failed": ["C02"], "waived": ["C06"]
    }  # fmt: skip


def test_reading_certificates_is_light() -> None:
    """What a list needs imports neither torch nor numpy."""
    code = (
        "import sys, recurra.testing.certificate; print({'torch', 'numpy', 'pydantic'} &"
        " set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "own", [e for e in discover().entries], ids=lambda e: f"{e.component.kind}-{e.component.name}"
)
def test_what_is_shipped_is_proved(own: Entry) -> None:
    """Every component of recurra's own carries a certificate of its present code, at level full,
    with no failure.
    """
    if own.plugin.distribution != "recurra":
        pytest.skip("it is not recurra's own")
    found = standing(own)
    mend = f"recurra plugins check {own.qualified} --level full --certify"
    assert (found.state, found.level) == ("proved", "full"), mend
    assert Path(module_file(own, own.component.target) or "").is_relative_to(REPOSITORY / "plugins")


def test_the_command_writes_one(
    write_plugin: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--certify` writes it beside the plugin's file, and tells where; it is for a whole
    examination.
    """
    few = {id: check for id, check in suite.all_checks().items() if id in ("P01", "C20")}
    monkeypatch.setattr(suite, "CHECKS", few)
    monkeypatch.setattr(suite, "PRESCRIBED", {"cell": (2, 2)})
    file = write_plugin()
    done = command("plugins", "check", "reference", "--file", file, "--certify").tidy(0)
    assert f"wrote {file.with_name(FILE)}" in done.out
    (entry,) = [e for e in discover([file]).entries if e.component.name == REFERENCE.name]
    assert str(standing(entry)) == f"proved {SUITE}, core only"
    command("plugins", "check", "reference", "--file", file, "--certify", "-k", "C02").fails(
        2, "RC080", "-k"
    )


@pytest.fixture
def write_plugin(tmp_path: Path) -> Callable[[], Path]:
    """Return what writes a local plugin file that is the reference of the suite."""

    def write_one() -> Path:
        reference = (REPOSITORY / "tests" / "liars" / "reference.py").read_text(encoding="utf-8")
        hook = (
            "from recurra import hookimpl\n\n@hookimpl\ndef recurra_components():\n    return"
            " [Component('cell', 'reference', 'own:Reference', 'own:ReferenceOptions', 'right')]\n"
        )
        file = tmp_path / "own.py"
        file.write_text(f"{reference}\n\n{hook}", encoding="utf-8")
        return file

    return write_one
