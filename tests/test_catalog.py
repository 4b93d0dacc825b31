"""A plugin that fails loses only itself, everything that is offered has a name and an owner, nothing is shadowed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import HELLO, SERIES
from terminal import command, process

import recurra
from recurra.catalog import Catalog, Plugin, Policy, discover
from recurra.errors import InputError, PluginError

HOOK = """
from recurra import Component, hookimpl

def offer(name, module="{module}", **changes):
    whole = dict(kind="cell", name=name, target=module + ":Leaky", options=module + ":LeakyOptions", summary="leaks")
    return Component(**{{**whole, **changes}})

@hookimpl
def recurra_components():
    return [{offers}]
"""

CELL = """
import torch
from recurra import Cell, CellOptions, Field

class LeakyOptions(CellOptions):
    leak: float = Field(0.5, gt=0, le=1, description="share of the state that each step replaces")

class Leaky(Cell):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.map = torch.nn.Linear(input_size + options.hidden_size, options.hidden_size)

    def initial_state(self, batch_size, *, device, dtype):
        return (torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype),)

    def step(self, x_t, state):
        h = torch.lerp(state[0], torch.tanh(self.map(torch.cat((x_t, state[0]), -1))), self.options.leak)
        return h, (h,)
"""

ENCODER = """
from recurra import CellOptions, Encoder

class Leaky(Encoder):
    def forward(self, x):
        return x

class LeakyOptions(CellOptions):
    pass
"""


def hook(offers: str = 'offer("leaky")', module: str = "sound_cell") -> str:
    """Return the text of a plugin module whose hook returns a list of these offers."""
    return HOOK.format(offers=offers, module=module)


class Site:
    """A folder of installed distributions, on the path of this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def write(self, module: str, text: str) -> Path:
        """Write a module."""
        path = self.path / f"{module}.py"
        path.write_text(text, encoding="utf-8")
        return path

    def add(
        self, distribution: str, text: str, *, entry: str = "", version: str = "1.0", metadata: bool = True
    ) -> Path:
        """Install a distribution whose only module is a plugin; the entry's name is the distribution's by default."""
        stem = re.sub(r"\W", "_", distribution)
        module, info = f"{stem}_plugin", self.path / f"{stem}-{version}.dist-info"
        info.mkdir()
        if metadata:
            lines = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
            (info / "METADATA").write_text(lines, encoding="utf-8")
        points = f"[recurra.plugins]\n{entry or distribution} = {module}\n"
        (info / "entry_points.txt").write_text(points, encoding="utf-8")
        return self.write(module, text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty folder for distributions; what is imported from it, or from local files, is forgotten afterwards."""
    before = set(sys.modules)
    made = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(made.path)
    monkeypatch.chdir(tmp_path)
    yield made
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def sound(site: Site) -> Site:
    """A folder with one sound distribution, which offers the cell `leaky`."""
    site.write("sound_cell", CELL)
    site.add("sound", hook())
    return site


def names(catalog: Catalog, kind: str = "cell") -> list[str]:
    """Return the qualified name of each component of a kind."""
    return [entry.qualified for entry in catalog.of_kind(kind)]


def record(catalog: Catalog, distribution: str) -> Plugin:
    """Return what became of the one plugin of a distribution."""
    (found,) = [plugin for plugin in catalog.plugins if plugin.distribution == distribution]
    return found


OWN = names(discover(policy=Policy(allow=frozenset())))
"""The cells that come with recurra."""


def besides(*others: str) -> list[str]:
    """Return the cells that come with recurra and others, in the order of their short names."""
    return sorted([*OWN, *others], key=lambda name: name.partition("/")[2])


BROKEN = {
    "raises on import": ("raise RuntimeError('kaput')", "import error", "RuntimeError: kaput"),
    "leaves on import": ("import sys\nsys.exit(3)", "import error", "SystemExit: 3"),
    "raises what is no Exception": ("raise GeneratorExit", "import error", "GeneratorExit"),
    "is cancelled": ("import asyncio\nraise asyncio.CancelledError('so')", "import error", "CancelledError: so"),
    "imports what is not there": ("import no_such_thing", "import error", "No module named 'no_such_thing'"),
    "is not Python": ("def :", "import error", "SyntaxError"),
    "has a hook nobody knows": (
        "from recurra import hookimpl\n@hookimpl\ndef recurra_models():\n    return []",
        "import error",
        "unknown hook 'recurra_models'",
    ),
    "has a hook with an argument too many": (
        "from recurra import hookimpl\n@hookimpl\ndef recurra_components(extra):\n    return []",
        "import error",
        "{'extra'}",
    ),
    "raises in the hook": (hook("1 / 0"), "hook error", "ZeroDivisionError: division by zero"),
    "leaves in the hook": (hook("exit(3)"), "hook error", "SystemExit: 3"),
    "gives one component, not a list": (
        hook().replace("[offer(", "offer(").replace(")]", ")"),
        "hook error",
        "'Component' object is not iterable",
    ),
    "gives a number": (hook("7"), "invalid", "gave int, not a Component"),
    "gives an unknown kind": (hook('offer("x", kind="sel")'), "invalid", "'sel' is not one of source, vocabulary"),
    "gives a bad name": (hook('offer("Bad-Name")'), "invalid", "'Bad-Name' must be lower case letters"),
    "gives a target without class": (hook('offer("x", target="m.C")'), "invalid", "target must read module:Class"),
    "gives a name twice": (hook('offer("x"), offer("x")'), "invalid", "cell broken/x is offered twice"),
    "is good in the first half": (hook('offer("x"), offer("y", kind="sel")'), "invalid", "kind 'sel'"),
    "is newer": (
        hook('offer("x", api="2.0")'),
        "incompatible",
        "x was written for plugin API 2.0; this recurra has 1.1",
    ),
    "counts its versions in numbers": (hook('offer("x", api=2)'), "incompatible", "plugin API 2;"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plugin_loses_only_itself(sound: Site, fault: str) -> None:
    """Whatever a plugin does when it is loaded, all others are there, and the record says what it did."""
    text, status, words = BROKEN[fault]
    sound.add("broken", text)
    catalog = discover()
    assert names(catalog) == besides("sound/leaky")
    assert record(catalog, "sound").status == "ok"
    found = record(catalog, "broken")
    assert (found.status, found.version) == (status, "1.0")
    assert words in found.error


@pytest.mark.parametrize("fault", BROKEN)
def test_strictness_turns_every_fault_into_an_error(sound: Site, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Under RECURRA_PLUGINS_STRICT=1 a plugin that does not load stops everything, by name."""
    text, status, words = BROKEN[fault]
    sound.add("broken", text)
    monkeypatch.setenv("RECURRA_PLUGINS_STRICT", "1")
    with pytest.raises(PluginError) as caught:
        discover()
    assert "plugin broken" in str(caught.value) and status in str(caught.value) and words in str(caught.value)


CHANGES = {
    "the working folder": "import os; os.chdir('/')",
    "what happens on Ctrl-C": "import signal; signal.signal(signal.SIGINT, lambda *_: None)",
    "torch's defaults": "import torch; torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False)",
    "the threads": "import threading\nthreading.Thread(target=threading.Event().wait, args=(0.2,)).start()",
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("when", ["listed", "used"])
def test_what_all_share_is_put_back(sound: Site, what: str, when: str) -> None:
    """What a plugin changes when it is loaded, or its component when that is, is told of it, and changed back."""
    text = CHANGES[what]
    before = (os.getcwd(), signal.getsignal(signal.SIGINT), torch.get_default_dtype(), torch.is_grad_enabled())
    if when == "listed":
        sound.add("odd", text + "\n" + hook('offer("drip")'))
        (told,) = record(discover(), "odd").warnings
        assert what in told
    else:
        sound.write("sound_cell", text + "\n" + CELL)
        assert discover().find("cell", "sound/leaky").target.__name__ == "Leaky"
    assert before == (os.getcwd(), signal.getsignal(signal.SIGINT), torch.get_default_dtype(), torch.is_grad_enabled())


def test_a_plugin_that_closes_the_output_closes_nothing(sound: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """It writes to a place of its own, which stays open."""
    sound.add("odd", "import sys\nprint('here')\nsys.stdout.close()\nsys.stderr.close()\n" + hook('offer("drip")'))
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
    """A distribution without metadata is known by its folder, so that the cure can name it; odd entries are told."""
    sound.add("bare", "", metadata=False)
    info = sound.add("empty", "").parent / "empty-1.0.dist-info" / "entry_points.txt"
    info.write_text("[recurra.plugins]\nempty = \n")
    catalog = discover()
    assert record(catalog, "bare").version == "1.0"
    assert "reads '', and not module" in record(catalog, "empty").error


def test_strictness_has_nothing_against_sound_plugins(sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
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
    """A list of entry points that cannot be read, of whatever distribution, is on record and stops nothing."""
    sound.add("damaged", "")
    (sound.path / "damaged-1.0.dist-info" / "entry_points.txt").write_text("[recurra.plugins]\nno equals sign\n")
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
    sound.add("loud", 'import sys\nprint("hello")\nprint("there", file=sys.stderr)\n' + hook('offer("loud")'))
    ended = command("plugins", "list", "--json").tidy(0)
    assert len(ended.out.splitlines()) == 1 and not ended.err
    (loud,) = [plugin for plugin in ended.last["plugins"] if plugin["distribution"] == "loud"]
    assert loud["status"] == "ok" and loud["warnings"] == ["printed while it was loaded: 'hello'"]


def test_a_plugin_that_imports_torch_is_listed_with_a_warning(sound: Site) -> None:
    """It works, but whoever waits for every command is told why; a light one is not blamed."""
    sound.add("heavy", "import torch\n" + hook('offer("heavy")'))
    lines = process("plugins", "list", path=sound.path).tidy(0).out.splitlines()
    assert any(line.split()[:3] == ["heavy", "heavy", "1.0"] for line in lines)
    assert [line.split(" (")[0] for line in lines if "imports torch" in line] == ["warning: heavy 1.0"]


def test_a_plugin_that_offers_nothing_is_listed_with_a_warning(site: Site) -> None:
    """An entry point whose module has no hook is not silently nothing."""
    site.add("empty", "")
    assert record(discover(), "empty").warnings == ("offers no component",)


# names


@pytest.fixture
def rivals(sound: Site) -> Site:
    """Two distributions that offer `leaky`."""
    sound.add("other", hook())
    return sound


def test_two_with_one_name_are_an_error_on_use_alone(rivals: Site, task: Callable[..., Path]) -> None:
    """A name that two offer stops only the task that uses it; the message names both, and both ways out."""
    assert {"sound/leaky", "other/leaky"} < set(names(discover()))
    assert recurra.check(task())["components"]["cell"] == "recurra/lstm"
    path = task(HELLO, ('"lstm"', '"leaky"'), name="leaky.toml")
    ended = command("check", path).fails(2, "[RC021]", f"{path}:17:1 cell.kind")
    assert "offered by other 1.0 and sound 1.0" in ended.err
    assert '"other/leaky" or "sound/leaky"' in ended.err


def test_the_qualified_name_means_one(rivals: Site, task: Callable[..., Path]) -> None:
    """Each of two with one name can be used by its qualified name, in a task and on the command line."""
    for name in ("sound/leaky", "other/leaky"):
        report = recurra.check(task(HELLO, ('"lstm"', f'"{name}"')))
        assert report["components"]["cell"] == name
        (shown,) = command("plugins", "show", name, "--json").tidy(0).last["components"]
        assert f'kind = "{name}"' in shown["table"], "a table to paste must name the one that was shown"


def test_the_list_shows_a_contested_name_qualified(rivals: Site) -> None:
    """Where a short name is not enough, the list gives the one that is."""
    lines = command("plugins", "list").tidy(0).out
    assert "\n  sound/leaky " in lines and "\n  other/leaky " in lines and "\n  leaky " not in lines


def test_one_entry_name_in_two_distributions(site: Site) -> None:
    """Two distributions whose entry points have the same name are both there."""
    site.write("sound_cell", CELL)
    site.add("first", hook('offer("one")'), entry="cell")
    site.add("second", hook('offer("two")'), entry="cell")
    assert {"first/one", "second/two"} < set(names(discover()))


def test_what_comes_with_recurra_is_never_shadowed(site: Site, task: Callable[..., Path]) -> None:
    """`lstm` is recurra's whoever else offers one; the other is reached by its qualified name alone."""
    site.write("sound_cell", CELL)
    site.add("aaa-lstm", hook('offer("lstm")'), entry="cells")
    catalog = discover()
    assert catalog.find("cell", "lstm").qualified == "recurra/lstm"
    assert catalog.find("cell", "aaa-lstm/lstm").qualified == "aaa-lstm/lstm"
    assert recurra.check(task())["components"]["cell"] == "recurra/lstm"
    tables = [c["table"] for c in command("plugins", "show", "lstm", "--json").tidy(0).last["components"]]
    assert sorted(table.splitlines()[1] for table in tables) == ['kind = "aaa-lstm/lstm"', 'kind = "lstm"']


def test_one_name_in_two_kinds_is_no_conflict(site: Site) -> None:
    """A kind and a name together mean a component."""
    site.add("both", hook('offer("leaky"), offer("leaky", kind="loss")'))
    catalog = discover()
    assert catalog.find("cell", "leaky").component.kind == "cell"
    assert catalog.find("loss", "leaky").component.kind == "loss"


@pytest.mark.parametrize("name", ["my_cell", "my-cell", "Some.Dist/my_cell", "some-dist/my-cell", "some_dist/my_cell"])
def test_spellings_of_a_name(site: Site, name: str) -> None:
    """`-` and `_` are the same in names, and a distribution's name is compared as installers compare it."""
    site.add("Some.Dist", hook('offer("my_cell")'))
    assert discover().find("cell", name).qualified == "Some.Dist/my_cell"


def test_an_unknown_name_gets_the_nearest_and_the_broken(sound: Site) -> None:
    """The message for a name nobody offers gives all that there are, the nearest, and what did not load."""
    sound.add("broken", "1 / 0")
    with pytest.raises(InputError) as caught:
        discover().find("cell", "leeky")
    (problem,) = caught.value.problems
    known = ", ".join(name.partition("/")[2] for name in besides("sound/leaky"))
    assert (problem.code, problem.nearest, problem.allowed) == ("RC020", "leaky", known)
    assert "not loaded: broken (import error: ZeroDivisionError" in problem.cure


def test_a_name_of_another_kind_says_where_it_belongs(sound: Site) -> None:
    """A cell in the encoder's table is told where to go."""
    with pytest.raises(InputError, match=r"'leaky' is a cell: put it in the \[cell\] table"):
        discover().find("encoder", "leaky")


@pytest.mark.parametrize("name", ["broken", "recurra-broken/anything", "recurra_broken/leaky"])
def test_a_name_of_a_broken_plugin_is_the_plugins_fault(site: Site, name: str) -> None:
    """What should come from a plugin that did not load says so, and why."""
    site.add("recurra-broken", "1 / 0", entry="broken")
    with pytest.raises(PluginError, match="should come from recurra-broken 1.0.*ZeroDivisionError") as caught:
        discover().find("cell", name)
    assert caught.value.problems[0].code == "RC022"


@pytest.mark.parametrize("name", ["other_broken", "some-cell", "recurra"])
def test_a_broken_plugin_is_not_blamed_for_every_typo(site: Site, name: str) -> None:
    """A name that only sounds like a broken plugin's is an unknown name."""
    site.add("recurra-broken-cell", "1 / 0", entry="broken")
    with pytest.raises(InputError):
        discover().find("cell", name)


# which may load


@pytest.mark.parametrize("named", ["my-plugin", "my_plugin", "short", " other , short "])
def test_the_allow_list_goes_by_distribution_or_entry(site: Site, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """RECURRA_PLUGINS lets only these load, by either name, and recurra's own always."""
    site.add("my-plugin", hook('offer("mine")'), entry="short")
    site.add("stranger", hook('offer("theirs")'))
    monkeypatch.setenv("RECURRA_PLUGINS", named)
    catalog = discover()
    assert set(names(catalog)) == {*OWN, "my-plugin/mine"}
    assert record(catalog, "stranger").status == "blocked"


def test_an_empty_allow_list_lets_none_load(sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """RECURRA_PLUGINS= leaves recurra's own alone."""
    monkeypatch.setenv("RECURRA_PLUGINS", "")
    assert names(discover()) == OWN


@pytest.mark.parametrize("named", ["my-plugin", "My_Plugin", "short"])
def test_the_block_list_goes_by_distribution_or_entry(site: Site, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """RECURRA_PLUGINS_BLOCK keeps these out, by either name, even where they are allowed; their code never runs."""
    site.add("my-plugin", "import sys\nsys.my_plugin_ran = True\n" + hook(), entry="short")
    monkeypatch.setenv("RECURRA_PLUGINS", "short")
    monkeypatch.setenv("RECURRA_PLUGINS_BLOCK", named)
    assert names(discover()) == OWN
    assert not hasattr(sys, "my_plugin_ran")


def test_use_of_a_blocked_plugin_names_the_variable(sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever blocked a plugin and forgot is told so."""
    monkeypatch.setenv("RECURRA_PLUGINS_BLOCK", "sound")
    with pytest.raises(PluginError) as caught:
        discover().find("cell", "sound/leaky")
    assert "RECURRA_PLUGINS_BLOCK" in caught.value.problems[0].fact
    assert "uninstall" not in caught.value.problems[0].cure
    assert "blocked: by RECURRA_PLUGINS" in command("plugins", "list").tidy(0).out


def test_a_policy_can_be_given(sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In Python the policy is an argument, and the environment is then not asked."""
    monkeypatch.setenv("RECURRA_PLUGINS_BLOCK", "sound")
    assert "sound/leaky" in names(discover(policy=Policy()))
    assert names(discover(policy=Policy(block=frozenset({"sound", "cells"})))) == []


# what a plugin gets wrong after it has loaded

LATE = {
    "no such module": (hook(module="absent_cell"), "", "RC070", "No module named 'absent_cell'"),
    "no such class": (hook(), CELL.replace("class Leaky(", "class Other("), "RC070", "has no attribute 'Leaky'"),
    "leaves on import": (hook(), "raise SystemExit(3)", "RC070", "SystemExit: 3"),
    "options are no Options": (
        hook(),
        CELL.replace("(CellOptions)", ""),
        "RC071",
        "not a subclass of recurra.CellOptions",
    ),
    "options of another kind": (hook(), CELL.replace("CellOptions", "Options"), "RC071", "of recurra.CellOptions"),
    "a function for a class": (hook(), CELL + "\nLeaky = print\n", "RC071", "is not a subclass of recurra.Cell"),
    "an encoder for a cell": (hook(), ENCODER, "RC071", "is not a subclass of recurra.Cell"),
    "no step": (hook(), CELL.replace("def step", "def stride"), "RC071", "Leaky does not define step"),
    "raises when it is built": (hook(), CELL.replace("torch.nn", "torch.mm"), "RC071", "sound_cell.py:11"),
    "raises in its step": (hook(), CELL.replace("(state[0], t", "(state[9], t"), "RC071", "sound_cell.py:17"),
}


@pytest.mark.parametrize("fault", LATE)
def test_a_fault_that_shows_on_use_stops_only_its_users(site: Site, task: Callable[..., Path], fault: str) -> None:
    """A component that cannot be used is its plugin's fault, by name; a task without it never notices."""
    plugin, cell, code, words = LATE[fault]
    site.write("sound_cell", cell)
    site.add("sound", plugin)
    command("check", task(HELLO, ('"lstm"', '"leaky"'))).fails(3, f"[{code}]", "sound/leaky", words)
    assert recurra.check(task())["components"]["cell"] == "recurra/lstm"


@pytest.mark.parametrize("fault", ["no such module", "options are no Options"])
def test_show_of_a_broken_component_is_one_message(site: Site, fault: str) -> None:
    """`plugins show` of what cannot be imported, or has no options to show, says so."""
    plugin, cell, code, words = LATE[fault]
    site.write("sound_cell", cell)
    site.add("sound", plugin)
    command("plugins", "show", "leaky").fails(3, f"[{code}]", "sound/leaky", words)


@pytest.mark.parametrize("fault", ["no such module", "leaves on import", "options are no Options"])
def test_the_schema_outlives_broken_options(site: Site, fault: str) -> None:
    """The schema still holds every other component; the broken one's table is open, and says why."""
    plugin, cell, _, words = LATE[fault]
    site.write("sound_cell", cell)
    site.add("sound", plugin)
    definitions = json.loads(command("schema").tidy(0).out)["$defs"]
    assert "forget_bias" in definitions["cell.recurra.lstm"]["properties"]
    theirs = definitions["cell.sound.leaky"]
    assert theirs["required"] == ["kind"] and "additionalProperties" not in theirs
    assert words in theirs["description"]


def test_advice_is_not_spoilt_by_a_broken_encoder(site: Site, task: Callable[..., Path]) -> None:
    """When encoders that would fit are listed, one that cannot be imported is left out, and is nobody's error."""
    site.add("broken", hook('offer("torn", kind="encoder", target="absent:E")'))
    ended = command("check", task(SERIES, ('"identity"', '"one_hot"'))).fails(2, "[RC030]")
    assert "allowed: calendar, convolution, identity, linear\n" in ended.err


# local files


LOCAL = hook(module="my_cell") + CELL


def local(task: Callable[..., Path], *files: str, cell: str = "leaky") -> Path:
    """Write a task that names these plugin files."""
    listed = ", ".join(f'"{name}"' for name in files)
    return task(HELLO, ("schema = 1", f"schema = 1\n[plugins]\nfiles = [{listed}]"), ('"lstm"', f'"{cell}"'))


@pytest.mark.parametrize("cell", ["leaky", "file:my_cell.py/leaky"])
def test_a_task_may_bring_its_own_file(site: Site, tmp_path: Path, task: Callable[..., Path], cell: str) -> None:
    """A plugin in a file beside the task is used, kept in the run, and found again when the run is opened."""
    (tmp_path / "my_cell.py").write_text(LOCAL)
    run = recurra.run(local(task, "./my_cell.py", cell=cell), {"cell.leak": 0.25})
    opened = recurra.load(run.path)
    assert opened.resolved.cells[0].entry.qualified == "file:my_cell.py/leaky"
    assert opened.resolved.cells[0].options.leak == 0.25
    assert opened.generated() == run.result["generated"]


def test_a_file_is_found_from_its_task(site: Site, tmp_path: Path, task: Callable[..., Path]) -> None:
    """The path is taken from the folder of the task file, wherever the command is given."""
    (tmp_path / "my_cell.py").write_text(LOCAL)
    path = local(task, "my_cell.py")
    (tmp_path / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "elsewhere")
        command("check", path).tidy(0)


def test_a_file_hides_no_installed_module(site: Site, tmp_path: Path, task: Callable[..., Path]) -> None:
    """A plugin file called json.py is used as such, and `import json` still means the library's."""
    (tmp_path / "json.py").write_text("import json\nassert json.dumps\n" + hook(module="json") + CELL)
    assert recurra.check(local(task, "./json.py"))["components"]["cell"] == "file:json.py/leaky"
    assert sys.modules["json"] is json and "site" not in str(json.__file__)
    assert str(tmp_path) not in sys.path


def test_two_files_are_two_plugins(site: Site, tmp_path: Path, task: Callable[..., Path]) -> None:
    """Files do not disturb each other, even when their modules hold the same names."""
    (tmp_path / "my_cell.py").write_text(LOCAL)
    (tmp_path / "your_cell.py").write_text(
        hook('offer("drip")', "your_cell") + CELL.replace("leak:", "drop:").replace(".leak)", ".drop)")
    )
    path = local(task, "my_cell.py", "your_cell.py")
    assert recurra.check(path, {"cell.leak": 0.1})["components"]["cell"] == "file:my_cell.py/leaky"
    path = local(task, "my_cell.py", "your_cell.py", cell="drip")
    assert recurra.check(path, {"cell.drop": 0.1})["components"]["cell"] == "file:your_cell.py/drip"


def test_two_files_of_one_name_cannot_offer_one_cell(site: Site, tmp_path: Path, task: Callable[..., Path]) -> None:
    """A qualified name means one component: a second file that would take it is refused."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my_cell.py").write_text(LOCAL)
    path = local(task, "a/my_cell.py", "b/my_cell.py")
    command("check", path).fails(3, "[RC070]", "file:my_cell.py/leaky is offered twice", str(tmp_path / "b"))


def test_a_file_that_is_missing(site: Site, task: Callable[..., Path]) -> None:
    """A plugin file that is not there is wrong input, placed in the task file."""
    path = local(task, "./my_cell.py")
    command("check", path).fails(2, f"{path}:3:1 plugins.files", "[RC001]", "my_cell.py")


@pytest.mark.parametrize("text", ["raise RuntimeError('kaput')", "raise SystemExit('kaput')", "def :  # kaput"])
def test_a_file_that_fails(site: Site, tmp_path: Path, task: Callable[..., Path], text: str) -> None:
    """A task asked for its file by name: if that does not load, the task stops, with the file and its line."""
    (tmp_path / "my_cell.py").write_text("\n" + text)
    ended = command("check", local(task, "./my_cell.py")).fails(3, "[RC070]", str(tmp_path / "my_cell.py"))
    assert "Error: kaput" in ended.err or "SystemExit: kaput" in ended.err or "SyntaxError: " in ended.err
    assert "my_cell.py:2" in ended.err or "line 2" in ended.err


def test_a_file_that_changed_under_its_run(site: Site, tmp_path: Path, task: Callable[..., Path]) -> None:
    """A run whose file offers its cell no longer asks for the file as it was, not for something to install."""
    (tmp_path / "my_cell.py").write_text(LOCAL)
    run = recurra.run(local(task, "./my_cell.py"))
    (tmp_path / "my_cell.py").write_text(LOCAL.replace('offer("leaky")', 'offer("renamed")'))
    with pytest.raises(PluginError) as caught:
        recurra.load(run.path)
    assert caught.value.problems[0].cure.startswith("bring the plugin file back as it was: my_cell.py (sha256:")


# the command line, in processes of its own


def test_no_plugin_stops_help_or_list(sound: Site) -> None:
    """With every broken plugin installed at once, help, version and list answer, and list says why of each."""
    for number, (text, _, _) in enumerate(BROKEN.values()):
        sound.add(f"broken{number}", text.replace("broken/", f"broken{number}/"))
    process("--help", path=sound.path).tidy(0)
    process("--version", path=sound.path).tidy(0)
    listed = process("plugins", "list", path=sound.path).tidy(0)
    for number, (_, status, words) in enumerate(BROKEN.values()):
        (line,) = [x for x in listed.out.splitlines() if x.startswith(f"not loaded: broken{number} 1.0 ")]
        assert status in line and words.replace("broken/", f"broken{number}/") in line
    assert re.search(r"\n  leaky            sound 1\.0 +unproved +leaks", listed.out)


def test_exit_codes(sound: Site, task: Callable[..., Path], tmp_path: Path) -> None:
    """0: done, although another plugin is broken; 1: the run failed; 2: wrong input; 3: the plugin's fault."""
    sound.add("broken", "1 / 0")
    path = task(HELLO, ('"lstm"', '"leaky"'))
    expect = path.read_text() + "\n[expect]\nloss_below = 0.0\n"
    good = command("run", task(expect, name="good.toml"), "--expect", "--runs", tmp_path)  # here torch is imported
    good.fails(1, "[RC062]", "loss_below does not hold")
    assert process("plugins", "list", path=sound.path).tidy(0).err == ""
    process("plugins", "show", "leeky", path=sound.path).fails(2, "[RC020]", "did you mean: leaky")
    process("plugins", "list", path=sound.path, RECURRA_PLUGINS_STRICT="1").fails(3, "[RC070]", "plugin broken")


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
    """However a distribution is damaged, others are listed, and a package that reads all entry points is imported."""
    sound.add("damaged", "")
    file, content = DAMAGES[damage]
    (sound.path / "damaged-1.0.dist-info" / file).write_bytes(content)
    assert "sound/leaky" in names(discover())
    ended = process("plugins", "show", "lstm", path=sound.path).tidy(0)
    try:
        list(importlib.metadata.PathDistribution(sound.path / "damaged-1.0.dist-info").entry_points)
    except Exception:
        assert ended.err.startswith("warning: the entry points of damaged 1.0 (") and len(ended.err.splitlines()) == 1
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
    process("check", task(), path=sound.path).fails(3, "extension: bad", "TORCH_DEVICE_BACKEND_AUTOLOAD=0")


# what a class declares

WRONG_ATTRIBUTES = {
    "encoder": {"reads": ["numbers", 1, ("number",), (), None]},
    "loss": {"reads": ["symbols", [3]]},
    "source": {"offers": ["text", ("texts",), 1]},
    "vocabulary": {"reads": [("text",), "texts"], "yields": [("symbols",), "symbol"], "unit": [1, "", ("x",)]},
    "cell": {"gates": ["2", 1.5, True, -1], "State": [tuple, (1,), "State"], "paired": [1], "context": ["2"]},
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, held in WRONG_ATTRIBUTES.items() for name in held])
def test_an_attribute_of_another_type_is_refused(kind: str, name: str) -> None:
    """What a class declares has the type that its base says, and a fault names class, attribute and what is allowed."""
    from recurra.contracts.declared import misdeclared

    base = {"gates": recurra.GatedCell, "State": recurra.GatedCell, "paired": recurra.ScanCell}.get(
        name, recurra.ScanCell if kind == "cell" else getattr(recurra, kind.capitalize())
    )
    for value in WRONG_ATTRIBUTES[kind][name]:
        (fault,) = misdeclared(type("Wrong", (base,), {name: value}))
        assert fault.startswith(f"Wrong.{name} is {value!r}; it must be ")


def test_all_that_is_installed_declares_itself_rightly() -> None:
    """No component that comes with recurra has an attribute of a wrong type."""
    from recurra.contracts.declared import misdeclared

    assert not [fault for entry in discover().entries for fault in misdeclared(entry.target)]


def test_a_misdeclared_component_stops_its_task_by_name(site: Site, task: Callable[..., Path]) -> None:
    """A text where a tuple belongs is the plugin's fault, and is told when a task uses it."""
    text = ENCODER.replace("class Leaky(Encoder):", 'class Leaky(Encoder):\n    reads = "symbols"\n')
    site.write("sound_cell", text)
    site.add("lax", hook('offer("lax", kind="encoder")'))
    with pytest.raises(PluginError) as caught:
        recurra.check(task(HELLO, ('"one_hot"', '"lax"')))
    assert "lax/lax" in str(caught.value) and "Leaky.reads is 'symbols'" in str(caught.value)


@pytest.mark.parametrize("label", ["summary", "cite"])
def test_a_component_is_described_in_text(sound: Site, label: str) -> None:
    """A summary and a citation are text: what is none is refused when the plugin is listed."""
    sound.add("broken", hook(f'offer("x", {label}=3)'))
    found = record(discover(), "broken")
    assert found.status == "invalid" and f"{label} must be text" in found.error
