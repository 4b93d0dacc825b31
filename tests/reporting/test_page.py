"""The page: one file that holds all it shows, of bounded size, whatever the run says."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pictured import RESULT, records, run_folder
from test_pictures import seen

import recurra
from recurra.cli.main import app
from recurra.drawing import Axis, Line, Picture, Plot
from recurra.drawing.style import DARK, LIGHT
from recurra.errors import InputError, RunError
from recurra.reporting.page import LARGEST, page
from recurra.reporting.saving import save

HOSTILE = "</script><script>alert(1)</script><b onclick='alert(1)'>\"&\x1b[2J\ud83d"


class Reader(HTMLParser):
    """A reader of HTML as browsers have it: elements, their attributes, and what is left open."""

    VOID = ("meta", "path", "rect", "circle", "image")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def addresses(text: str) -> list[str]:
    """Return where links, pictures and scripts of a page lead."""
    found = []
    for _, attributes in Reader(text).elements:
        for name in ("href", "src", "xlink:href", "srcset", "data", "action", "poster"):
            if name in attributes:
                found.append(attributes[name] or "")
    return found


def test_a_page_leads_nowhere_but_to_itself(tmp_path: Path) -> None:
    """Each address is a place of the page or holds what it leads to; its policy allows no other."""
    text = page([seen(run_folder(tmp_path / "1"))]).text
    assert addresses(text)
    assert all(address.startswith(("#", "data:")) for address in addresses(text))
    assert not re.findall(r"@import|url\(", text)
    metas = [attributes for tag, attributes in Reader(text).elements if tag == "meta"]
    policy = next(m["content"] for m in metas if m.get("http-equiv")) or ""
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert re.fullmatch(r"'sha256-[\w+/]+='", rules["script-src"])


@pytest.mark.parametrize("where", "name verdict sample baseline figure why note".split())
def test_no_text_of_a_run_becomes_an_element(tmp_path: Path, where: str) -> None:
    """The page of a run has the same elements whatever its texts hold."""

    def made(path: Path, text: str) -> list[str]:
        result: dict[str, Any] = {**RESULT, "baselines": {"one": {"loss": 2.0}}}
        more: dict[str, Any] = {}
        if where == "verdict":
            result["verdict"] = text
        elif where == "baseline":
            result["baselines"] = {text: {"loss": 2.0}}
        elif where == "figure":
            result["metrics"] = {"loss": 1.0, text: 2.0}
        elif where == "note":
            result["notes"] = [text]
        elif where == "sample":
            more["samples"] = f"--- step 1\n{text}\n".encode("utf-8", "replace").decode()
        elif where == "why":
            more["failed"] = {"code": "RC060", "fact": text}
        name = text.encode("utf-8", "replace").decode() if where == "name" else "hand"
        name = name.replace("\x1b", "")
        folder = run_folder(path, name=name, result=None if where == "why" else result, **more)
        text = page([seen(folder)]).text
        assert "\x1b" not in text
        text.encode("utf-8")
        reader = Reader(text)
        assert reader.open == []
        return [tag for tag, _ in reader.elements]

    assert made(tmp_path / "1", HOSTILE) == made(tmp_path / "2", "plain")


def test_a_page_is_never_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its bound data of the largest pictures goes first, then pictures; both are named."""

    def large(view: Any) -> Picture:
        x = list(range(800))
        lines = [Line(f"line {n}", x, [(n + k) ** 0.5 for k in x]) for n in range(25)]
        return Picture("large", "large", [Plot("", Axis("x"), Axis("y"), lines)])

    monkeypatch.setattr("recurra.reporting.samples.picture", large)
    made = page([seen(run_folder(tmp_path / "1"))], most=150_000)
    assert len(made.text.encode()) <= 150_000
    assert made.left_out["large"] == "the page is full"
    assert "recurra plot" in made.text and "-o large.svg" in made.text
    assert {"figures", "curves"} <= set(made.shown)

    small = page([seen(run_folder(tmp_path / "2"))], most=75_000)
    assert "curves, its data: the page is full" in small.text
    assert {"figures", "curves"} <= set(small.shown)
    assert len(small.text.encode()) <= 75_000


def test_what_is_said_of_pictures_left_out_has_room_too(tmp_path: Path) -> None:
    """However long the names of the runs are, the bound holds, whatever it is."""
    deep = tmp_path / ("long" * 50)
    views = [seen(run_folder(deep / str(n), lines=records(60))) for n in range(3)]
    whole = len(page(views).text.encode())
    for most in (whole - 1, whole - 5_000):
        made = page(views, most=most)
        assert len(made.text.encode()) <= most
        assert "the page is full" in made.text


def test_several_runs_are_one_page(tmp_path: Path) -> None:
    """Also of different tasks, and one that failed: a table, their losses, a chapter for each."""
    failed = {"code": "RC060", "fact": "the loss is nan"}
    paths = [
        run_folder(tmp_path / "a" / "1", name="a"),
        run_folder(tmp_path / "b" / "1", name="b", result={**RESULT, "judged": "accuracy"}),
        run_folder(tmp_path / "b" / "2", name="b", result=None, failed=failed),
    ]
    made = page([seen(path) for path in paths])
    assert "3 runs of a and b" in made.text
    assert "They are not of one task" in made.text
    assert "This run is failed: RC060 the loss is nan." in made.text
    assert made.shown.count("together") == 1 and "run2-curves" in made.shown
    ids = [attributes["id"] for _, attributes in Reader(made.text).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(address[1:] in ids for address in addresses(made.text) if address.startswith("#"))


def test_a_run_stands_once_in_a_page(tmp_path: Path) -> None:
    """The folder of a task is its newest run: both names are of one run."""
    run_folder(tmp_path / "t" / "1")
    path = recurra.report([tmp_path / "t", tmp_path / "t" / "1"], tmp_path / "r.html")
    assert path.read_text(encoding="utf-8").count('id="curves"') == 1


def test_what_cannot_be_reported_is_refused(tmp_path: Path) -> None:
    """No run, no runs, too many, a name that is no page's, a place that is not there."""
    folder = run_folder(tmp_path / "1")
    with pytest.raises(InputError, match="is not a run"):
        recurra.report(tmp_path / "1" / "checkpoints", tmp_path / "r.html")
    with pytest.raises(InputError, match="no run is named"):
        recurra.report([], tmp_path / "r.html")
    with pytest.raises(InputError, match="run"):
        recurra.report(5, tmp_path / "r.html")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="does not end as a page does"):
        recurra.report(folder, folder / "task.toml")
    with pytest.raises(RunError, match="cannot be written"):
        recurra.report(folder, tmp_path / "none" / "r.html")
    with pytest.raises(RunError, match="cannot be written"):
        (tmp_path / "f.html").mkdir()
        recurra.report(folder, tmp_path / "f.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "f.html"]


@pytest.mark.parametrize("place", ["none/p", "file/p", "folder"])
def test_what_cannot_be_written_is_told_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Neither page nor picture is made for a place where it cannot be, and nothing is left."""
    folder = run_folder(tmp_path / "1")
    (tmp_path / "file").write_text("")
    for end in ("html", "svg"):
        (tmp_path / f"folder.{end}").mkdir()
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("recurra.reporting.view.View.records", None)
    for end, call in (
        ("html", partial(recurra.report, folder)),
        ("svg", partial(recurra.plot, folder, "curves")),
    ):
        with pytest.raises(RunError, match="cannot be written"):
            call(tmp_path / f"{place}.{end}")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_picture_that_cannot_be_drawn_leaves_no_file(tmp_path: Path) -> None:
    """Neither an empty one, nor any other in place of what stood there."""
    folder = run_folder(tmp_path / "1", result=None)
    (tmp_path / "old.svg").write_text("old")
    before = sorted(tmp_path.rglob("*"))
    for name in ("new.svg", "old.svg"):
        with pytest.raises(InputError, match="has no picture of figures"):
            recurra.plot(folder, "figures", tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "old.svg").read_text() == "old"


def test_a_picture_is_written_as_its_name_tells(tmp_path: Path) -> None:
    """SVG, PNG and csv; another name is refused before anything is drawn."""
    folder = run_folder(tmp_path / "1")
    made = recurra.plot(folder, "curves", tmp_path / "c.svg")
    assert (tmp_path / "c.svg").read_text(encoding="utf-8") == made.svg()
    recurra.plot(folder, "curves", tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_bytes().startswith(b"updates,training (cross entropy),")
    with pytest.raises(InputError, match="does not tell how a picture is to be written"):
        recurra.plot(folder, "nothing", tmp_path / "c.gif")


@pytest.mark.skipif(find_spec("resvg_py") is None, reason="resvg-py is not installed")
def test_a_png_is_a_picture_of_the_same_size(tmp_path: Path) -> None:
    """A PNG has two pixels for each unit of the SVG, on white paper, and is no blank."""
    made = recurra.plot(run_folder(tmp_path / "1"), "curves", tmp_path / "c.png")
    content = (tmp_path / "c.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    size = [int.from_bytes(content[at : at + 4], "big") for at in (16, 20)]
    wide, high = re.findall(r'width="([\d.]+)" height="([\d.]+)" class="p"', made.svg())[0]
    assert size == [pytest.approx(2 * float(side), abs=1) for side in (wide, high)]
    assert len(content) > 10_000


def test_png_without_resvg_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra: what brings it is named, before anything is drawn."""
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(InputError) as told:
        save(Picture("p", "p", []), tmp_path / "p.png")
    assert "recurra[plot]" in told.value.problems[0].cure


def luminance(color: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.1)."""
    parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_told_from_their_paper(palette: dict[str, str]) -> None:
    """Text has a contrast of 4.5 to its paper, a line of 3, as WCAG 2.1 AA asks."""

    def contrast(one: str, other: str) -> float:
        high, low = sorted((luminance(palette[one]), luminance(palette[other])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    assert contrast("ink", "paper") >= 7 and contrast("faint", "paper") >= 4.5
    assert all(contrast(f"c{n}", "paper") >= 3 for n in range(8))
    assert all(contrast("bright", name) >= 3 for name in ("high", "low"))


def test_the_commands_say_what_they_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`report` names file and size, `plot` without a name lists what there is, and what is not."""
    monkeypatch.chdir(tmp_path)
    folder = str(run_folder(tmp_path / "1", result=None))
    app(["report", folder], standalone_mode=False)
    said = capsys.readouterr().out
    assert re.match(r"wrote report.html: [\d,]+ bytes, \d+ pictures\nwithout figures", said)
    app(["plot", folder], standalone_mode=False)
    said = capsys.readouterr().out
    assert "curves           Training\n" in said
    assert "figures          not of this run: it has no result" in said
    app(["plot", folder, "curves"], standalone_mode=False)
    assert capsys.readouterr().out.startswith("wrote curves.svg: ")
    app(["report", folder, "--json"], standalone_mode=False)
    assert '"left_out": {"figures": ' in capsys.readouterr().out


USED = """
import os, sys
pid = os.posix_spawn(sys.executable, sys.argv[1:], os.environ)
_, status, used = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
"""A small process that calls another: a child begins with the greatest memory of its parent."""


def used(words: list[str]) -> tuple[float, int]:
    """Return the seconds of processor time and the kilobytes that a command has used."""
    call = [sys.executable, "-c", USED, sys.executable, "-m", "recurra", *words]
    told = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True).stdout
    status, seconds, kilobytes = told.split("\n")[-2].split()
    assert status == "0"
    return float(seconds), int(kilobytes)


@pytest.mark.slow
def test_a_long_run_is_reported_quickly(tmp_path: Path) -> None:
    """Of 100,000 steps, each recorded, a page takes less than 10 s of one core and 500 MB."""
    samples = "".join(f"--- step {n}\n{'some text ' * 20}\n" for n in range(10, 100_001, 10))
    folder = run_folder(tmp_path / "1", lines=records(100_000), samples=samples)
    seconds, kilobytes = used(["report", str(folder), "-o", str(tmp_path / "r.html")])
    assert seconds < 10
    assert kilobytes < 500_000
    assert (tmp_path / "r.html").stat().st_size <= LARGEST
