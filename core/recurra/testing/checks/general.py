"""What a component of any kind is held to: how it is packed, listed, described and configured."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, get_args

import numpy as np
import tomli_w
import torch
from pydantic import ValidationError

from recurra.catalog import HOME
from recurra.contracts.cell import Cell
from recurra.contracts.component import API
from recurra.contracts.encoder import Encoder
from recurra.contracts.loss import Loss
from recurra.contracts.options import Options, validate_options
from recurra.contracts.source import Source
from recurra.contracts.target import Target
from recurra.contracts.tracker import Tracker
from recurra.contracts.vocabulary import Element, Vocabulary
from recurra.errors import InputError, PluginError
from recurra.testing import child
from recurra.testing.check import Broken, Measured, NotApplicable, check
from recurra.testing.option_sets import bad_tables, folder, validated
from recurra.testing.subjects.subject import Subject
from recurra.testing.subjects.tracker import follow

CLASSES: dict[str, type[Any]] = {
    "cell": Cell,
    "encoder": Encoder,
    "vocabulary": Vocabulary,
    "loss": Loss,
    "source": Source,
    "target": Target,
    "tracker": Tracker,
}
ELEMENTS = {"offers": get_args(Element), "reads": (*get_args(Element), "symbols")}
"""What may stand in a class attribute that says what a component gives or takes."""
LISTING = 300.0
"""Milliseconds that importing a plugin's module may take, beyond recurra and pydantic."""
TRIES = 3
"""How often a slow import is tried again: the first may compile, and the machine may be busy."""


@check("P01", "loads, and is what it says", firm=True, each=False)
def loads(subject: Subject[Any]) -> None:
    """The plugin loads, target and options are classes of the kind that is declared, and nothing
    abstract is left.

    The target derives from recurra's class of the kind, implements all that is abstract in it, and
    says in its class attributes what the kind demands, with values that exist. Otherwise a task
    fails far from the cause, when the class is first called. To mend it: derive from `recurra.Cell`
    (`Encoder`, `Vocabulary`, `Target`, `Loss`, `Source`, `Tracker`), implement the methods that are
    named, and let `target` and `options` read `module:Class`.
    """
    component, target = subject.entry.component, subject.entry.target
    base = CLASSES[component.kind]
    if subject.entry.plugin.status != "ok":
        raise Broken(f"the plugin did not load: {subject.entry.plugin.error}")
    if not (inspect.isclass(target) and issubclass(target, base)):
        raise Broken(f"{component.target} is not a subclass of recurra.{base.__name__}")
    missing = sorted(getattr(target, "__abstractmethods__", ()))
    if missing:
        raise Broken(f"{component.target} does not implement {', '.join(missing)}")

    numbers = component.api.split(".")
    if not (len(numbers) == 2 and all(number.isdecimal() for number in numbers)):
        raise Broken(f"api {component.api!r} must read MAJOR.MINOR, as {API[0]}.{API[1]}")
    # Compared as numbers: 1.10 is later than 1.9.
    if tuple(map(int, numbers)) > API:
        raise Broken(
            f"it was written for plugin API {component.api}; this recurra has {API[0]}.{API[1]}"
        )

    for name, choices in ELEMENTS.items():
        declared = getattr(target, name, choices)
        words = [declared] if isinstance(declared, str) else declared
        unknown = [word for word in words if word not in choices]
        if unknown:
            allowed = ", ".join(choices)
            raise Broken(f"{component.target}: {name} holds {unknown[0]!r}, not one of {allowed}")


LISTED = """
import contextlib, io, os, time, warnings
import pydantic
import recurra.contracts.component, recurra.contracts.hooks, recurra.contracts.options
def world():
    return [("the current folder", os.getcwd()), ("the environment", dict(os.environ)),
            ("the filters of warnings", repr(warnings.filters))]
before, said = world(), io.StringIO()
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    start = time.perf_counter()
    load(*argument)
    spent = (time.perf_counter() - start) * 1000
changed = [name for (name, old), (_, new) in zip(before, world()) if old != new]
heavy = [name for name in ("torch",) if name in sys.modules]
tell({"spent": spent, "said": said.getvalue()[:80], "changed": changed, "heavy": heavy})
"""


@check("P02", "listing it is light", firm=True, each=False)
def listed_lightly(subject: Subject[Any]) -> Measured:
    """Importing the plugin's module, in a fresh process, loads no torch, prints nothing and changes
    nothing.

    It takes less than 300 ms beyond recurra and pydantic, and leaves the folder, the environment
    and the filters of warnings as they are. Every command lists the plugins, `--help` of each host
    once did too: a plugin that imports torch when it is listed adds seconds to all of them, for
    people who do not use it. To mend it: name classes by strings, keep options in a module that
    does not import torch, and import nothing heavy at the top of the plugin's module.
    """
    _installed(subject)
    module = subject.entry.plugin.origin
    origin = child.origin(subject.entry, module)
    report = child.run(LISTED, origin)
    if report["heavy"]:
        raise Broken(f"importing {module} imports {report['heavy'][0]}")
    printed = report["said"].strip()
    if printed:
        raise Broken(f"importing {module} prints {printed.splitlines()[0]!r}")
    if report["changed"]:
        raise Broken(f"importing {module} changes {report['changed'][0]}")

    # Slow once may be chance: the fastest of a few tries counts.
    spent = report["spent"]
    for _ in range(TRIES):
        if spent > LISTING:
            again = child.run(LISTED, origin)
            spent = min(spent, again["spent"])
    return Measured(spent, LISTING, f"ms to import {module}")


def _installed(subject: Subject[Any]) -> None:
    """Raise `NotApplicable` if the plugin is a local file or folder."""
    if subject.entry.plugin.is_local:
        raise NotApplicable("it is a local file or folder, which only its own task loads")


IMPORTED = """
import os, random
import numpy, torch
def world():
    return {
        "the default type": str(torch.get_default_dtype()),
        "the default device": str(torch.get_default_device()),
        "torch's random numbers": torch.get_rng_state().tolist(),
        "numpy's random numbers": repr(numpy.random.get_state()),
        "Python's random numbers": repr(random.getstate()),
        "the number of threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "whether gradients are wanted": torch.is_grad_enabled(),
        "whether algorithms are deterministic": torch.are_deterministic_algorithms_enabled(),
        "the precision of products": torch.get_float32_matmul_precision(),
        "the current folder": os.getcwd(),
    }
before = world()
for place in argument:
    load(*place)
after = world()
tell([name for name in before if before[name] != after[name]])
"""


@check("P03", "importing it changes nothing", each=False)
def imported_quietly(subject: Subject[Any]) -> None:
    """Importing target and options leaves the process as it was: the default type and device,
    random numbers, threads.

    Whether gradients are wanted or algorithms are deterministic is left alone too. A module that
    calls `torch.manual_seed` or `torch.set_default_dtype` when it is imported changes the results
    of every other component in the task. To mend it: seed and set nothing at the top of a module;
    the engine seeds each stream for itself.
    """
    component = subject.entry.component
    names = (component.target, component.options)
    origins = [child.origin(subject.entry, name) for name in names]
    changed = child.run(IMPORTED, origins)
    if changed:
        raise Broken(f"importing it changes {', '.join(changed)}")


@check("P04", "bad options are refused", firm=True, each=False)
def bad_options(subject: Subject[Any]) -> Measured:
    """Each option refuses what it cannot mean, and the error names that option.

    Tried for every option: values of another type, `true` for a number, a number beyond each bound,
    nan and inf, a choice that does not exist; and a key that does not exist. Lax models read `true`
    as 1 and ignore misspelt keys, and the run computes something else than its task says. To mend
    it: derive from `recurra.Options` (it is strict), give numbers `ge`, `le`, `gt` or `lt`, and
    write choices as `Literal`.
    """
    model = subject.entry.options
    home = folder(subject.entry)

    def anchored(value: str, field: str) -> str:
        return str(home / value)

    tried = 0
    for name, table, why in bad_tables(model, subject.table):
        tried += 1
        # The error must be about this option, and not about another that suffers from it.
        what = f"{name} = {table[name]!r} ({why})"
        try:
            validate_options(model, table, anchored)
        except ValidationError as error:
            if not _names(error, name):
                place = error.errors()[0]["loc"]
                raise Broken(f"{what}: the error names {place}, not {name}") from None
        except Exception as error:
            raise Broken(f"{what} raises {type(error).__name__}: {error}") from None
        else:
            raise Broken(f"{what} is taken")
    return Measured(detail=f"{tried} bad tables")


def _names(error: ValidationError, option: str) -> bool:
    """Tell whether an error is about an option."""
    return any(fault["loc"][:1] == (option,) for fault in error.errors())


@check("P05", "every choice and bound runs", each=False)
def corners_run(subject: Subject[Any]) -> Measured:
    """What the options model allows can be built and run: every choice, and every bound of a
    number, in pairs.

    Combinations that the model's own rules refuse are left out. An option that is allowed and then
    fails inside the constructor, or gives numbers that are not finite, is found by the user. To
    mend it: narrow the bounds, or add a rule between options as a pydantic `model_validator`.
    """
    tables = [subject.table, *(table for table in subject.sets if table != subject.table)]
    # What is wrong is told with the options under which it is.
    run = RUNS[subject.entry.component.kind]
    for table in tables:
        options = validated(subject.entry, table)
        one = type(subject)(subject.entry, options, table)
        try:
            run(one)
        except Broken as error:
            raise Broken(f"{error}, under {table}") from None
        except Exception as error:
            raise Broken(f"{type(error).__name__}: {error}, under {table}") from error
    return Measured(detail=f"{len(tables)} sets of options")


def _run_cell(subject: Subject[Any]) -> None:
    """Run a step, forwards and backwards."""
    cell = subject.build(5)
    x = torch.randn(2, 5, generator=subject.generator())
    with torch.enable_grad():
        start = cell.initial_state(2, device=x.device, dtype=x.dtype)
        y, state = cell.step(x, start)
        if y.requires_grad:
            y.sum().backward()
    grads = [weight.grad for weight in cell.parameters() if weight.grad is not None]
    _all_finite([y, *state, *grads], "a step or its gradients")


def _run_encoder(subject: Subject[Any]) -> None:
    """Encode a few steps of all that it reads."""
    ids = torch.tensor([[0, 1, 2], [4, 3, 0]])
    for read in subject.entry.target.reads:
        encoder = subject.build(5)
        x = ids if read == "symbols" else torch.ones(2, 3, 5)
        _all_finite([encoder(x)], "an encoded step")


def _run_loss(subject: Subject[Any]) -> None:
    """Take the loss of a few steps of all that it reads."""
    for read in subject.entry.target.reads:
        loss = subject.build(5)
        target = torch.tensor([0, 1, 4]) if read == "symbols" else torch.ones(3, 5)
        output = torch.randn(3, loss.output_size, generator=subject.generator())
        _all_finite([loss(output, target)], "a loss")


SAMPLES: dict[str, Any] = {
    "text": "one fine day, one fine night",
    "tokens": ["one", "two", "one"],
    "numbers": np.array([[1.0, 2.0], [3.0, 5.0], [2.0, 4.0]]),
}


def _run_vocabulary(subject: Subject[Any]) -> None:
    """Fit it on a sample, and encode that."""
    vocabulary = subject.build()
    sample = SAMPLES[subject.entry.target.reads]
    vocabulary.fit([sample])
    ids = vocabulary.encode(sample)
    if not np.isfinite(ids).all():
        raise Broken("an encoded value is not finite")


def _run_source(subject: Subject[Any]) -> None:
    """Ask for the fingerprint."""
    if not isinstance(subject.build().fingerprint(), str):
        raise Broken("fingerprint gives no text")


def _run_target(subject: Subject[Any]) -> None:
    """Ask what is measured, and how a sequence is pooled."""
    target = subject.build()
    # Numbers are answers only where the input is asked: a column gives names.
    answers = ("symbols", "numbers") if target.asks == "input" else ("symbols",)
    for elements in answers:
        with suppress(InputError):
            if not target.metrics(elements):
                raise Broken(f"nothing is measured of {elements}")
    if not isinstance(target.pooling, str):
        raise Broken("pooling gives no text")


def _run_tracker(subject: Subject[Any]) -> None:
    """Follow a short run."""
    follow(subject)


RUNS: dict[str, Callable[[Subject[Any]], None]] = {
    "cell": _run_cell,
    "encoder": _run_encoder,
    "loss": _run_loss,
    "vocabulary": _run_vocabulary,
    "source": _run_source,
    "target": _run_target,
    "tracker": _run_tracker,
}
"""One short use of a component of each kind."""


def _all_finite(tensors: list[torch.Tensor], what: str) -> None:
    """Raise `Broken` if a real number of some tensors is none."""
    real = [tensor for tensor in tensors if tensor.is_floating_point()]
    if not all(torch.isfinite(tensor).all() for tensor in real):
        raise Broken(f"{what} is not finite")


@check("P06", "it says what it is", each=False)
def described(subject: Subject[Any]) -> None:
    """The target has a docstring, the component a summary of one line, every option a description
    and a valid default.

    `recurra plugins show` prints all of it, with a table to paste into a task file: what is not
    said there has to be guessed, and a default that its own model refuses breaks the table. To mend
    it: write `Field(default, description="...")` for each option and a docstring with the equations
    for the class.
    """
    component, model = subject.entry.component, subject.entry.options
    docstring = subject.entry.target.__doc__ or ""
    if not docstring.strip():
        raise Broken(f"{component.target} has no docstring")
    summary = component.summary.strip()
    if not summary or "\n" in summary:
        raise Broken("the summary must be one line")
    for name, field in model.model_fields.items():
        if not (field.description or "").strip():
            raise Broken(f"option {name} has no description")

    # Each default is put into a table that is valid, in place of what stands there.
    table = subject.options.model_dump(mode="json", exclude_none=True)
    for name, field in model.model_fields.items():
        if field.is_required():
            continue
        default = field.get_default(call_default_factory=True)
        if default is not None:
            plain = _plain(model, name, default)
            _takes(model, {**table, name: plain}, name)


def _plain(model: type[Options], name: str, value: Any) -> Any:
    """Return an option's value as JSON has it, unchecked."""
    options = model.model_construct(**{name: value})
    table = options.model_dump(mode="json", include={name}, warnings=False)
    return table[name]


def _takes(model: type[Options], table: Mapping[str, Any], name: str) -> None:
    """Raise `Broken` if an option of a table is refused."""
    try:
        validate_options(model, dict(table), lambda value, field: value)
    except ValidationError as error:
        if _names(error, name):
            raise Broken(
                f"the default of option {name}, {table[name]!r}, is refused by its own model"
            ) from None


@check("P07", "options survive a task file", firm=True, each=False)
def options_survive(subject: Subject[Any]) -> Measured:
    """Options written to TOML and read back are equal: parse(write(options)) == options, on every
    set that is tried.

    A run keeps its resolved task as TOML, and resumes, evaluates and generates from it. An option
    that TOML cannot say, or that validation changes a second time, gives another network than the
    one that was trained. To mend it: keep to numbers, text, choices and lists of them, and let a
    validator give the same when it is applied again.
    """
    tables = [subject.table, *subject.sets]
    for table in tables:
        options = validated(subject.entry, table)
        # TOML has no null: what is None is left out, and must come back by its default.
        plain = options.model_dump(mode="json", exclude_none=True)
        text = tomli_w.dumps(plain)
        try:
            again = validated(subject.entry, tomllib.loads(text))
        except PluginError:
            raise Broken(f"what is written is refused when it is read, under {table}") from None
        if again != options:
            changed = [name for name, value in options if getattr(again, name) != value]
            raise Broken(f"{', '.join(changed)} changes on the way through TOML, under {table}")
    return Measured(detail=f"{len(tables)} sets of options")


@check("P08", "it says which recurra it needs", each=False)
def bounded(subject: Subject[Any]) -> Measured:
    """The distribution depends on recurra with a lower and an upper bound, as in `recurra>=0.1,<1`.

    A release of a plugin cannot be changed once it is out: without an upper bound the next major
    version of recurra is installed beside it and breaks it. To mend it: bound the dependency in
    `pyproject.toml`.
    """
    _installed(subject)
    name = subject.entry.plugin.distribution
    if name == HOME:
        raise NotApplicable("it is a part of recurra")

    try:
        requirements = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        raise NotApplicable(f"no distribution called {name} is installed") from None

    lower, upper = bounds_on(HOME, requirements)
    if not (lower and upper):
        lacking = "lower and upper bound"
        if upper:
            lacking = "lower bound"
        elif lower:
            lacking = "upper bound"
        raise Broken(f"{name} depends on recurra without {lacking}")
    return Measured(detail=f"{lower}, {upper}")


def bounds_on(name: str, requirements: list[str]) -> tuple[str, str]:
    """Return the lower and the upper bound that requirements set on a distribution.

    Each is "" if there is none.
    """
    versions = []
    for requirement in requirements:
        # As in `recurra[plots] (>=0.1,<1) ; extra == "test"`: name, extras, versions, marker.
        spec, _, marker = requirement.partition(";")
        match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(\[[^\]]*\])?\s*\(?([^)]*)", spec)
        if match and match[1].lower() == name and "extra" not in marker:
            versions += re.findall(r"(~=|===?|<=?|>=?)\s*([\w.*]+)", match[3])

    # What pins a version bounds it on both sides.
    exact = ("==", "===", "~=")
    lower = [sign + version for sign, version in versions if sign in (">=", ">", *exact)]
    upper = [sign + version for sign, version in versions if sign in ("<", "<=", *exact)]
    return lower[0] if lower else "", upper[0] if upper else ""
