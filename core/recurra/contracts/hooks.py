"""The hook that a plugin implements.

An entry point in the group `recurra.plugins` names the module that does.
"""

from __future__ import annotations

import pluggy

from recurra.contracts.component import Component

PROJECT = "recurra"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Hooks:
    """The hook specifications."""

    @hookspec
    def recurra_components(self) -> list[Component]:  # type: ignore[empty-body]
        """Return the components that the plugin offers, of whatever kinds."""
