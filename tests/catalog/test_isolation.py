"""A plugin that fails loses only itself, whatever it does and however its distribution is
damaged.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import HELLO
from sites import BROKEN, CELL, Site, besides, hook, names, record
from terminal import command, process

from recurra.catalog import discover
from recurra.errors import PluginError


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plugin_loses_only_itself(sound: Site, fault: str) -> None:
    """Whatever a plugin does when it is loaded, all others are there, and the record says what it
    did.
    """
    text, status, words = BROKEN[fault]
    sound.add("broken", text)
    catalog = discover()
    assert names(catalog) == besides("sound/leaky")
    assert record(catalog, "sound").status == "ok"
    found = record(catalog, "broken")
    assert (found.status, found.version) == (status, "1.0")
    assert words in found.error


@pytest.mark.parametrize("fault", BROKEN)
def test_strictness_turns_every_fault_into_an_error(
    sound: Site, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Under RECURRA_PLUGINS_STRICT=1 a plugin that does not load stops everything, by name."""
    text, status, words = BROKEN[fault]
    sound.add("broken", text)
    monkeypatch.setenv("RECURRA_PLUGINS_STRICT", "1")
    with pytest.raises(PluginError) as caught:
        discover()
    assert (
        "plugin broken" in str(caught.value)
        and status in str(caught.value)
        and words in str(caught.value)
    )


CHANGES = {
    "the working folder": "import os; os.chdir('/')",
    "what happens on Ctrl-C": "import signal; signal.signal(signal.SIGINT, lambda *_: None)",
    "torch's defaults": (
        "import torch; torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False)"
    ),
    "the threads": (
        "import threading\nthreading.Thread(target=threading.Event().wait, args=(0.2,)).start()"
    ),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("when", ["listed", "used"])
def test_what_all_share_is_put_back(sound: Site, what: str, when: str) -> None:
    """What a plugin changes when it is loaded, or its component when that is, is told of it, and
    changed back.
    """
    text = CHANGES[what]
    before = (
        os.getcwd(),
        signal.getsignal(signal.SIGINT),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
    )
    if when == "listed":
        sound.add("odd", text + "\n" + hook('offer("drip")'))
        (told,) = record(discover(), "odd").warnings
        assert what in told
    else:
        sound.write("sound_cell", text + "\n" + CELL)
        assert discover().find("cell", "sound/leaky").target.__name__ == "Leaky"
    assert before == (
        os.getcwd(),
        signal.getsignal(signal.SIGINT),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
    )


def test_a_plugin_that_closes_the_output_closes_nothing(
    sound: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """It writes to a place of its own, which stays open."""
    sound.add(
        "odd",
        "import sys\nprint('here')\nsys.stdout.close()\nsys.stderr.close()\n"
        + hook('offer("drip")'),
    )
    assert record(discover(), "odd").warnings == ("printed while it was loaded: 'here'",)
    print("there")
    assert capsys.readouterr().out == "there\n"


def test_a_plugin_that_takes_long_is_named(
    sound: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever waits is told for whom, and how to leave it out; a quick one is not spoken of."""
    monkeypatch.setattr("recurra.catalog.loading.PATIENCE", 0.05)
    sound.add("odd", "import time; time.sleep(0.3)\n" + hook('offer("drip")'))
    discover()
    said = capsys.readouterr().err
    assert "plugin odd 1.0 has been loading" in said and "RECURRA_PLUGINS_BLOCK" in said


def test_without_metadata_the_folder_names_it(sound: Site) -> None:
    """A distribution without metadata is known by its folder, so that the cure can name it; odd
    entries are told.
    """
    sound.add("bare", "", metadata=False)
    info = sound.add("empty", "").parent / "empty-1.0.dist-info" / "entry_points.txt"
    info.write_text("[recurra.plugins]\nempty = \n")
    catalog = discover()
    assert record(catalog, "bare").version == "1.0"
    assert "reads '', and not module" in record(catalog, "empty").error


def test_strictness_has_nothing_against_sound_plugins(
    sound: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A strict policy lets pass what loads, and what is blocked on purpose."""
    sound.add("broken", "1 / 0")
    monkeypatch.setenv("RECURRA_PLUGINS_STRICT", "1")
    monkeypatch.setenv("RECURRA_PLUGINS_BLOCK", "broken")
    assert "sound/leaky" in names(discover())


def test_an_error_says_where_in_the_plugin(site: Site) -> None:
    """The record of a plugin that raises gives the file and line of its own code."""
    path = site.add("broken", "import json\n\njson.loads('{')\n")
    assert record(discover(), "broken").error.endswith(")")
    path.write_text("import json\n\n\nraise KeyError('kaput')\n")
    sys.modules.pop("broken_plugin", None)
    assert f"({path}:4)" in record(discover(), "broken").error


def test_a_damaged_distribution_hides_no_other(sound: Site) -> None:
    """A list of entry points that cannot be read, of whatever distribution, is on record and stops
    nothing.
    """
    sound.add("damaged", "")
    (sound.path / "damaged-1.0.dist-info" / "entry_points.txt").write_text(
        "[recurra.plugins]\nno equals sign\n"
    )
    catalog = discover()
    assert names(catalog) == besides("sound/leaky")
    assert record(catalog, "damaged").status == "invalid"


def test_a_distribution_without_metadata_still_works(site: Site) -> None:
    """What has no metadata is called as its folder, and its component can be used."""
    site.write("sound_cell", CELL)
    site.add("nameless", hook(), metadata=False)
    catalog = discover()
    assert record(catalog, "nameless").status == "ok"
    assert catalog.find("cell", "leaky").qualified == "nameless/leaky"


def test_what_a_plugin_prints_is_kept_from_the_output(sound: Site) -> None:
    """A plugin that prints when it is loaded spoils no JSON, and is listed with a warning."""
    sound.add(
        "loud",
        'import sys\nprint("hello")\nprint("there", file=sys.stderr)\n' + hook('offer("loud")'),
    )
    ended = command("plugins", "list", "--json").tidy(0)
    assert len(ended.out.splitlines()) == 1 and not ended.err
    (loud,) = [plugin for plugin in ended.last["plugins"] if plugin["distribution"] == "loud"]
    assert loud["status"] == "ok" and loud["warnings"] == ["printed while it was loaded: 'hello'"]


def test_a_plugin_that_imports_torch_is_listed_with_a_warning(sound: Site) -> None:
    """It works, but whoever waits for every command is told why; a light one is not blamed."""
    sound.add("heavy", "import torch\n" + hook('offer("heavy")'))
    lines = process("plugins", "list", path=sound.path).tidy(0).out.splitlines()
    assert any(line.split()[:3] == ["heavy", "heavy", "1.0"] for line in lines)
    assert [line.split(" (")[0] for line in lines if "imports torch" in line] == [
        "warning: heavy 1.0"
    ]


def test_a_plugin_that_offers_nothing_is_listed_with_a_warning(site: Site) -> None:
    """An entry point whose module has no hook is not silently nothing."""
    site.add("empty", "")
    assert record(discover(), "empty").warnings == ("offers no component",)


@pytest.mark.parametrize("label", ["summary", "cite"])
def test_a_component_is_described_in_text(sound: Site, label: str) -> None:
    """A summary and a citation are text: what is none is refused when the plugin is listed."""
    sound.add("broken", hook(f'offer("x", {label}=3)'))
    found = record(discover(), "broken")
    assert found.status == "invalid" and f"{label} must be text" in found.error


# the command line, in processes of its own


def test_no_plugin_stops_help_or_list(sound: Site) -> None:
    """With every broken plugin installed at once, help, version and list answer, and list says why
    of each.
    """
    for number, (text, _, _) in enumerate(BROKEN.values()):
        sound.add(f"broken{number}", text.replace("broken/", f"broken{number}/"))
    process("--help", path=sound.path).tidy(0)
    process("--version", path=sound.path).tidy(0)
    listed = process("plugins", "list", path=sound.path).tidy(0)
    for number, (_, status, words) in enumerate(BROKEN.values()):
        (line,) = [
            x for x in listed.out.splitlines() if x.startswith(f"not loaded: broken{number} 1.0 ")
        ]
        assert status in line and words.replace("broken/", f"broken{number}/") in line
    assert re.search(r"\n  leaky            sound 1\.0 +unproved +leaks", listed.out)


def test_exit_codes(sound: Site, task: Callable[..., Path], tmp_path: Path) -> None:
    """0: done, although another plugin is broken; 1: the run failed; 2: wrong input; 3: the
    plugin's fault.
    """
    sound.add("broken", "1 / 0")
    path = task(HELLO, ('"lstm"', '"leaky"'))
    expect = path.read_text() + "\n[expect]\nloss_below = 0.0\n"
    # Here torch is imported.
    good = command("run", task(expect, name="good.toml"), "--expect", "--runs", tmp_path)
    good.fails(1, "[RC062]", "loss_below does not hold")
    assert process("plugins", "list", path=sound.path).tidy(0).err == ""
    process("plugins", "show", "leeky", path=sound.path).fails(2, "[RC020]", "did you mean: leaky")
    process("plugins", "list", path=sound.path, RECURRA_PLUGINS_STRICT="1").fails(
        3, "[RC070]", "plugin broken"
    )


# damaged distributions

DAMAGES: dict[str, tuple[str, bytes]] = {
    "a line without =": ("entry_points.txt", b"[console_scripts]\nno equals sign\n"),
    "a line without a group": ("entry_points.txt", b"x = y\n= z\n"),
    "bytes that are no text": ("entry_points.txt", b"\xff\xfe[a]\n"),
    "metadata that are no text": ("METADATA", b"\xff\xfe\x00Name"),
    "metadata without a name": ("METADATA", b"Metadata-Version: 2.1\n"),
    "a record that is none": ("RECORD", b"\x00,,,,\n\xff"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damage_stops_the_list_or_what_imports_pydantic(sound: Site, damage: str) -> None:
    """However a distribution is damaged, others are listed, and a package that reads all entry
    points is imported.
    """
    sound.add("damaged", "")
    file, content = DAMAGES[damage]
    (sound.path / "damaged-1.0.dist-info" / file).write_bytes(content)
    assert "sound/leaky" in names(discover())
    ended = process("plugins", "show", "lstm", path=sound.path).tidy(0)
    try:
        list(importlib.metadata.PathDistribution(sound.path / "damaged-1.0.dist-info").entry_points)
    except Exception:
        assert (
            ended.err.startswith("warning: the entry points of damaged 1.0 (")
            and len(ended.err.splitlines()) == 1
        )
    else:
        assert not ended.err


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damage_stops_a_run(sound: Site, task: Callable[..., Path], damage: str) -> None:
    """However a distribution is damaged that a task does not use, the task runs."""
    sound.add("damaged", "")
    file, content = DAMAGES[damage]
    (sound.path / "damaged-1.0.dist-info" / file).write_bytes(content)
    process("run", task(), path=sound.path).tidy(0)


@pytest.mark.slow
def test_an_extension_of_torch_that_fails_is_named(sound: Site, task: Callable[..., Path]) -> None:
    """An extension that torch cannot load is a plugin's fault, with how to leave it out."""
    sound.add("extension", "")
    points = sound.path / "extension-1.0.dist-info" / "entry_points.txt"
    points.write_text("[torch.backends]\nbad = no_such_module:load\n")
    process("check", task(), path=sound.path).fails(
        3, "extension: bad", "TORCH_DEVICE_BACKEND_AUTOLOAD=0"
    )
