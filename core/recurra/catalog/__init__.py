"""From entry points to a catalog of components.

They are isolated, attributed, and have names that never shadow each other.
"""

from __future__ import annotations

from recurra.catalog.discovery import GROUP, NAME, Policy, discover
from recurra.catalog.entries import HOME, Catalog, Entry, Plugin

__all__ = ["GROUP", "HOME", "NAME", "Catalog", "Entry", "Plugin", "Policy", "discover"]
