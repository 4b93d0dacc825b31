"""What a plugin gets wrong after it has loaded stops only whoever uses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import HELLO, SERIES
from sites import CELL, ENCODER, Site, hook
from terminal import command

import recurra
from recurra.errors import PluginError

LATE = {
    "no such module": (hook(module="absent_cell"), "", "RC070", "No module named 'absent_cell'"),
    "no such class": (
        hook(),
        CELL.replace("class Leaky(", "class Other("),
        "RC070",
        "has no attribute 'Leaky'",
    ),
    "leaves on import": (hook(), "raise SystemExit(3)", "RC070", "SystemExit: 3"),
    "options are no Options": (
        hook(),
        CELL.replace("(CellOptions)", ""),
        "RC071",
        "not a subclass of recurra.CellOptions",
    ),
    "options of another kind": (
        hook(),
        CELL.replace("CellOptions", "Options"),
        "RC071",
        "of recurra.CellOptions",
    ),
    "a function for a class": (
        hook(),
        CELL + "\nLeaky = print\n",
        "RC071",
        "is not a subclass of recurra.Cell",
    ),
    "an encoder for a cell": (hook(), ENCODER, "RC071", "is not a subclass of recurra.Cell"),
    "no step": (
        hook(),
        CELL.replace("def step", "def stride"),
        "RC071",
        "Leaky does not define step",
    ),
    "raises when it is built": (
        hook(),
        CELL.replace("torch.nn", "torch.mm"),
        "RC071",
        "sound_cell.py:11",
    ),
    "raises in its step": (
        hook(),
        CELL.replace("(state[0], n", "(state[9], n"),
        "RC071",
        "sound_cell.py:18",
    ),
}


@pytest.mark.parametrize("fault", LATE)
def test_a_fault_that_shows_on_use_stops_only_its_users(
    site: Site, task: Callable[..., Path], fault: str
) -> None:
    """A component that cannot be used is its plugin's fault, by name; a task without it never
    notices.
    """
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
    """The schema still holds every other component; the broken one's table is open, and says
    why.
    """
    plugin, cell, _, words = LATE[fault]
    site.write("sound_cell", cell)
    site.add("sound", plugin)
    definitions = json.loads(command("schema").tidy(0).out)["$defs"]
    assert "forget_bias" in definitions["cell.recurra.lstm"]["properties"]
    theirs = definitions["cell.sound.leaky"]
    assert theirs["required"] == ["kind"] and "additionalProperties" not in theirs
    assert words in theirs["description"]


def test_advice_is_not_spoilt_by_a_broken_encoder(site: Site, task: Callable[..., Path]) -> None:
    """When encoders that would fit are listed, one that cannot be imported is left out, and is
    nobody's error.
    """
    site.add("broken", hook('offer("torn", kind="encoder", target="absent:E")'))
    ended = command("check", task(SERIES, ('"identity"', '"one_hot"'))).fails(2, "[RC030]")
    assert "allowed: calendar, convolution, identity, linear\n" in ended.err


def test_a_misdeclared_component_stops_its_task_by_name(
    site: Site, task: Callable[..., Path]
) -> None:
    """A text where a tuple belongs is the plugin's fault, and is told when a task uses it."""
    text = ENCODER.replace(
        "class Leaky(Encoder):", 'class Leaky(Encoder):\n    reads = "symbols"\n'
    )
    site.write("sound_cell", text)
    site.add("lax", hook('offer("lax", kind="encoder")'))
    with pytest.raises(PluginError) as caught:
        recurra.check(task(HELLO, ('"one_hot"', '"lax"')))
    assert "lax/lax" in str(caught.value) and "Leaky.reads is 'symbols'" in str(caught.value)
