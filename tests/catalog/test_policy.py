"""Which plugins may load: what is allowed, what is blocked, and how whoever asks for it is told."""

from __future__ import annotations

import sys

import pytest
from sites import Site, hook, names, own, record
from terminal import command

from recurra.catalog import Policy, discover
from recurra.errors import PluginError


@pytest.mark.parametrize("named", ["my-plugin", "my_plugin", "short", " other , short "])
def test_the_allow_list_goes_by_distribution_or_entry(
    site: Site, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """RECURRA_PLUGINS lets only these load, by either name, and recurra's own always."""
    site.add("my-plugin", hook('offer("mine")'), entry="short")
    site.add("stranger", hook('offer("theirs")'))
    monkeypatch.setenv("RECURRA_PLUGINS", named)
    catalog = discover()
    assert set(names(catalog)) == {*own(), "my-plugin/mine"}
    assert record(catalog, "stranger").status == "blocked"


def test_an_empty_allow_list_lets_none_load(sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """RECURRA_PLUGINS= leaves recurra's own alone."""
    monkeypatch.setenv("RECURRA_PLUGINS", "")
    assert names(discover()) == own()


@pytest.mark.parametrize("named", ["my-plugin", "My_Plugin", "short"])
def test_the_block_list_goes_by_distribution_or_entry(
    site: Site, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """RECURRA_PLUGINS_BLOCK keeps these out, by either name, even where they are allowed; their
    code never runs.
    """
    site.add("my-plugin", "import sys\nsys.my_plugin_ran = True\n" + hook(), entry="short")
    monkeypatch.setenv("RECURRA_PLUGINS", "short")
    monkeypatch.setenv("RECURRA_PLUGINS_BLOCK", named)
    assert names(discover()) == own()
    assert not hasattr(sys, "my_plugin_ran")


def test_use_of_a_blocked_plugin_names_the_variable(
    sound: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
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
