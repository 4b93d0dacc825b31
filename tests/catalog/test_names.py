"""Everything that is offered has a name and an owner, and nothing is shadowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import HELLO
from sites import CELL, Site, besides, hook, names
from terminal import command

import recurra
from recurra.catalog import discover
from recurra.errors import InputError, PluginError


@pytest.fixture
def rivals(sound: Site) -> Site:
    """Two distributions that offer `leaky`."""
    sound.add("other", hook())
    return sound


def test_two_with_one_name_are_an_error_on_use_alone(
    rivals: Site, task: Callable[..., Path]
) -> None:
    """A name that two offer stops only the task that uses it; the message names both, and both ways
    out.
    """
    assert {"sound/leaky", "other/leaky"} < set(names(discover()))
    assert recurra.check(task())["components"]["cell"] == "recurra/lstm"
    path = task(HELLO, ('"lstm"', '"leaky"'), name="leaky.toml")
    ended = command("check", path).fails(2, "[RC021]", f"{path}:17:1 cell.kind")
    assert "offered by other 1.0 and sound 1.0" in ended.err
    assert '"other/leaky" or "sound/leaky"' in ended.err


def test_the_qualified_name_means_one(rivals: Site, task: Callable[..., Path]) -> None:
    """Each of two with one name can be used by its qualified name, in a task and on the command
    line.
    """
    for name in ("sound/leaky", "other/leaky"):
        report = recurra.check(task(HELLO, ('"lstm"', f'"{name}"')))
        assert report["components"]["cell"] == name
        (shown,) = command("plugins", "show", name, "--json").tidy(0).last["components"]
        assert f'kind = "{name}"' in shown["table"], (
            "a table to paste must name the one that was shown"
        )


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
    """`lstm` is recurra's whoever else offers one; the other is reached by its qualified name
    alone.
    """
    site.write("sound_cell", CELL)
    site.add("aaa-lstm", hook('offer("lstm")'), entry="cells")
    catalog = discover()
    assert catalog.find("cell", "lstm").qualified == "recurra/lstm"
    assert catalog.find("cell", "aaa-lstm/lstm").qualified == "aaa-lstm/lstm"
    assert recurra.check(task())["components"]["cell"] == "recurra/lstm"
    tables = [
        c["table"] for c in command("plugins", "show", "lstm", "--json").tidy(0).last["components"]
    ]
    assert sorted(table.splitlines()[1] for table in tables) == [
        'kind = "aaa-lstm/lstm"',
        'kind = "lstm"',
    ]


def test_one_name_in_two_kinds_is_no_conflict(site: Site) -> None:
    """A kind and a name together mean a component."""
    site.add("both", hook('offer("leaky"), offer("leaky", kind="loss")'))
    catalog = discover()
    assert catalog.find("cell", "leaky").component.kind == "cell"
    assert catalog.find("loss", "leaky").component.kind == "loss"


@pytest.mark.parametrize(
    "name", ["my_cell", "my-cell", "Some.Dist/my_cell", "some-dist/my-cell", "some_dist/my_cell"]
)
def test_spellings_of_a_name(site: Site, name: str) -> None:
    """`-` and `_` are the same in names, and a distribution's name is compared as installers
    compare it.
    """
    site.add("Some.Dist", hook('offer("my_cell")'))
    assert discover().find("cell", name).qualified == "Some.Dist/my_cell"


def test_an_unknown_name_gets_the_nearest_and_the_broken(sound: Site) -> None:
    """The message for a name nobody offers gives all that there are, the nearest, and what did not
    load.
    """
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
    with pytest.raises(
        PluginError, match="should come from recurra-broken 1.0.*ZeroDivisionError"
    ) as caught:
        discover().find("cell", name)
    assert caught.value.problems[0].code == "RC022"


@pytest.mark.parametrize("name", ["other_broken", "some-cell", "recurra"])
def test_a_broken_plugin_is_not_blamed_for_every_typo(site: Site, name: str) -> None:
    """A name that only sounds like a broken plugin's is an unknown name."""
    site.add("recurra-broken-cell", "1 / 0", entry="broken")
    with pytest.raises(InputError):
        discover().find("cell", name)
