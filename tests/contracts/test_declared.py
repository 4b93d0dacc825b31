"""What a class declares has the type that its base says."""

from __future__ import annotations

import pytest

import recurra
from recurra.catalog import discover
from recurra.contracts.declared import misdeclared

WRONG_ATTRIBUTES = {
    "encoder": {"reads": ["numbers", 1, ("number",), (), None]},
    "loss": {"reads": ["symbols", [3]]},
    "source": {"offers": ["text", ("texts",), 1]},
    "vocabulary": {
        "reads": [("text",), "texts"],
        "yields": [("symbols",), "symbol"],
        "unit": [1, "", ("x",)],
    },
    "cell": {
        "gates": ["2", 1.5, True, -1],
        "State": [tuple, (1,), "State"],
        "paired": [1],
        "context": ["2"],
    },
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, held in WRONG_ATTRIBUTES.items() for name in held]
)
def test_an_attribute_of_another_type_is_refused(kind: str, name: str) -> None:
    """What a class declares has the type that its base says, and a fault names class, attribute and
    what is allowed.
    """
    base = {"gates": recurra.GatedCell, "State": recurra.GatedCell, "paired": recurra.ScanCell}.get(
        name, recurra.ScanCell if kind == "cell" else getattr(recurra, kind.capitalize())
    )
    for value in WRONG_ATTRIBUTES[kind][name]:
        (fault,) = misdeclared(type("Wrong", (base,), {name: value}))
        assert fault.startswith(f"Wrong.{name} is {value!r}; it must be ")


def test_all_that_is_installed_declares_itself_rightly() -> None:
    """No component that comes with recurra has an attribute of a wrong type."""
    assert not [fault for entry in discover().entries for fault in misdeclared(entry.target)]
