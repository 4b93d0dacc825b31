"""Writing a distribution that offers one component, which passes the contract suite.

The component is an example of its kind.
"""

from __future__ import annotations

import keyword
import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import NamedTuple

import recurra
from recurra.catalog import HOME, Policy, discover
from recurra.contracts.component import KINDS
from recurra.errors import InputError, nearest

TEMPLATES = Path(__file__).parent / "templates"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
FORMS = ("cell", "gated", "scan")
"""How a cell can be written.

It is a step, what happens between gates, or the coefficients of a linear recurrence.
"""

TAKEN = {
    *recurra.__all__,
    *("Any", "ClassVar", "Counter", "Iterable", "Iterator", "Kappa", "Literal"),
    *("Mapping", "NamedTuple", "Path", "Sequence", "Tensor"),
}
"""Names that the class of a component cannot have.

The examples import them, or give them to what stands beside it.
"""


class Example(NamedTuple):
    """What the example of a kind is, where it was published, and its version of the contract."""

    summary: str
    cite: str = ""
    api: str = "1.0"


LEAKY = "Jaeger et al. 2007, doi:10.1016/j.neunet.2007.04.016"
EXAMPLES = {
    "cell": Example("leaky integrator", LEAKY),
    "gated": Example("leaky integrator", LEAKY),
    "scan": Example(
        "leaky integrator whose leak each input chooses", "Feng et al. 2024, arXiv:2410.01201"
    ),
    "encoder": Example(
        "each number as its nearness to evenly spaced centres", "Broomhead & Lowe 1988"
    ),
    "source": Example("sums of two numbers, one a line, drawn from a seed"),
    "loss": Example("log cosh of the error: squared near 0, absolute far from it"),
    "vocabulary": Example("characters, the most frequent first"),
    "tracker": Example("a file of JSON, a line for each point", "", "1.2"),
    "target": Example("one class a sequence, judged by Cohen's kappa", "Cohen 1960", "1.1"),
}
"""The example of each form of a cell, and of each other kind."""


def create(name: str, kind: str, form: str | None, home: Path) -> list[Path]:
    """Write the folder `recurra-NAME` into `home`; return it and the files in it.

    It is written whole or not at all. Raises `InputError`: RC080 for a name, a kind or a form that
    cannot be, and where the folder is there already; RC050 where it cannot be written.
    """
    form = _form(kind, form)
    target = home / f"recurra-{name.replace('_', '-')}"
    entries = discover(policy=Policy()).named(name)
    kinds = {entry.component.kind for entry in entries if entry.plugin.distribution == HOME}
    _check_name(name, kind, kind in kinds)

    # Where recurra has the name in another kind, only the qualified one means this component.
    contract = f"{target.name}/{name}" if kinds else name
    files = _files(name, kind, form, contract)
    if target.exists() or target.is_symlink():
        fact = f"{target} is already there; nothing was written"
        raise InputError.of("RC080", fact, cure="take another name, move it, or go elsewhere")

    work = home / f".{target.name}.{os.getpid()}.part"
    try:
        for name_inside, text in files.items():
            path = work / name_inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        work.rename(target)
    except OSError as error:
        fact = f"{target} cannot be written: {error.strerror or error}; nothing was"
        raise InputError.of("RC050", fact, cure="go to a folder that you may write to") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return [target, *(target / name_inside for name_inside in sorted(files))]


def _form(kind: str, form: str | None) -> str:
    """Return the example to write. Raises `InputError` (RC080) if there is no such kind or form."""
    if kind not in KINDS:
        fact = f"--kind: there is no kind {kind!r}"
        raise InputError.of("RC080", fact, allowed=", ".join(KINDS), nearest=nearest(kind, KINDS))
    if kind != "cell":
        if form is not None:
            raise InputError.of("RC080", "--form is for cells alone", cure="leave it out")
        return kind
    form = form or "gated"
    if form not in FORMS:
        fact = f"--form: there is no form {form!r} of a cell"
        raise InputError.of("RC080", fact, allowed=", ".join(FORMS), nearest=nearest(form, FORMS))
    return form


def _check_name(name: str, kind: str, is_ours: bool) -> None:
    """Raise `InputError` (RC080) if a component of one's own cannot have this name.

    No package or class can have it, or it is recurra's.
    """
    if not NAME.fullmatch(name):
        better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        fact = f"{name!r} cannot be a component's name"
        allowed = "lower case letters, digits and single _ between them, a letter first: my_cell"
        close = better if NAME.fullmatch(better) else ""
        raise InputError.of("RC080", fact, allowed=allowed, nearest=close)

    if is_ours:
        reason = "recurra has one of this name, and the name alone would always mean that one"
    else:
        reason = why_not(name)
    if reason:
        fact = f"no {kind} of yours can be called {name!r}: {reason}"
        raise InputError.of("RC080", fact, cure=f"add a word: my_{name}")


def why_not(name: str) -> str:
    """Return what stands against a well-formed name, or nothing."""
    title = class_name(name)
    if keyword.iskeyword(name):
        return "Python keeps this word for itself"
    if name == "pyproject":
        return "its task would be pyproject.toml"
    if TAKEN & {title, f"{title}Options"}:
        return f"its class {title}, or {title}Options, would hide a name that its module imports"
    if find_spec(f"recurra_{name}") is not None:
        return f"there is a package recurra_{name} already"
    return ""


def class_name(name: str) -> str:
    """Return the name of the class: MyCell for my_cell."""
    return "".join(part.capitalize() for part in name.split("_"))


def _files(name: str, kind: str, form: str, contract: str) -> dict[str, str]:
    """Return the text of each file by its path.

    They are those of every plugin, of the kind, and of the form of a cell. `contract` is the name
    by which the suite finds the component and no other.
    """
    words = {
        "name": name,
        "kind": kind,
        "contract": contract,
        "title": class_name(name),
        "package": f"recurra_{name}",
        "distribution": f"recurra-{name.replace('_', '-')}",
        "version": recurra.__version__,
        "next_major": str(int(recurra.__version__.split(".")[0]) + 1),
        **EXAMPLES[form]._asdict(),
    }
    layers = ["common", kind]
    if kind == "cell":
        layers.append(f"cell_{form}")
    files = {}
    for layer in layers:
        folder = TEMPLATES / layer
        for path in folder.rglob("*.tmpl"):
            # `dot.gitignore.tmpl` is `.gitignore`, and `recurra_NAME` is `recurra_my_cell`.
            place = path.relative_to(folder).as_posix().removesuffix(".tmpl")
            place = place.replace("dot.", ".").replace("NAME", name)
            template = Template(path.read_text(encoding="utf-8"))
            files[place] = template.substitute(words)
    return files
