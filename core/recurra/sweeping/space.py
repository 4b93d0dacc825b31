"""A space: a TOML file that says which keys of a task are tried with which values, and how."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from recurra.contracts.options import to_json
from recurra.errors import InputError, Place, Problem, listing, nearest
from recurra.spec import checking
from recurra.spec.document import Document, Key, Layer, same
from recurra.spec.overrides import key_of, leaves, plain
from recurra.spec.reading import read_toml
from recurra.spec.table import Table
from recurra.sweeping.domains import MOST_VALUES, Choices, Domain, Range

SPACE = "the space"
"""What a space without a file is called."""
MOST_KEYS = 64
MOST_TRIALS = 100_000
TRIALS = 20
"""Trials of a space that does not say how many."""

T = TypeVar("T", bound=BaseModel)


class Tpe(Table):
    """A tree-structured Parzen estimator, of all keys together: tries more of what was good."""

    kind: Literal["tpe"] = "tpe"
    startup: int = Field(10, ge=1, le=MOST_TRIALS, description="trials at random before it")


class Random(Table):
    """Each value drawn by itself."""

    kind: Literal["random"] = "random"


class Grid(Table):
    """Every combination of values, each once."""

    kind: Literal["grid"] = "grid"


class Qmc(Table):
    """A scrambled Sobol sequence, which leaves fewer gaps than chance does."""

    kind: Literal["qmc"] = "qmc"


Sampler = Annotated[Tpe | Random | Grid | Qmc, Field(discriminator="kind")]


class NoPruner(Table):
    """Every trial is trained to its end."""

    kind: Literal["none"] = "none"


class Asha(Table):
    """Asynchronous successive halving: of what has come so far one in `factor` goes on."""

    kind: Literal["asha"] = "asha"
    first: int = Field(1, ge=1, le=MOST_TRIALS, description="validations before the first look")
    factor: int = Field(3, ge=2, le=1000, description="one of so many goes on to the next look")


class Median(Table):
    """A trial ends that is worse than the median of the others at the same validation."""

    kind: Literal["median"] = "median"
    startup: int = Field(5, ge=0, le=MOST_TRIALS, description="trials that are finished before it")
    first: int = Field(0, ge=0, le=MOST_TRIALS, description="validations before the first look")


class Wilcoxon(Table):
    """A trial ends whose seeds are worse than those of the best, by a signed-rank test."""

    kind: Literal["wilcoxon"] = "wilcoxon"
    p: float = Field(0.1, gt=0, le=1, description="the chance of error below which one is pruned")
    startup: int = Field(2, ge=2, le=1000, description="seeds before the first look")


Pruner = Annotated[NoPruner | Asha | Median | Wilcoxon, Field(discriminator="kind")]


class Space(Table):
    """What a space file holds, but for the domains, which are checked each by itself."""

    trials: int | None = Field(
        None,
        ge=1,
        le=MOST_TRIALS,
        description=f"how many are made in all: {TRIALS}, or the whole grid",
    )
    seeds: int = Field(1, ge=1, le=1000, description="seeds of a trial, whose figure is their mean")
    seed: int = Field(0, ge=0, lt=1 << 31, description="what values are drawn with")
    metrics: list[str] = Field(
        default=[], max_length=4, description="figures of validation; by default what is monitored"
    )
    sampler: Sampler = Field(default=Tpe(), description="tpe, random, grid or qmc")
    pruner: Pruner = Field(default=NoPruner(), description="none, asha, median or wilcoxon")
    space: dict[str, Any] = Field(description="values by the keys of the task")

    @model_validator(mode="after")
    def _fits(self) -> Space:
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics: one stands there twice")
        pruner = self.pruner.kind
        if len(self.metrics) > 1 and pruner != "none":
            raise ValueError(f"pruner: {pruner} goes by one figure, and there are several metrics")
        if pruner == "wilcoxon" and self.seeds < 3:
            raise ValueError("seeds: wilcoxon compares seeds, and takes 3 of them at least")
        return self


class Spaced:
    """A space that is checked by itself: `space`, its `domains`, and where each key stands."""

    def __init__(self, document: Document, space: Space, domains: list[Domain]) -> None:
        self.document, self.space, self.domains = document, space, domains

    def place(self, domain: Domain, part: str = "") -> Place:
        """Return where a domain stands, or a part of it."""
        return self.document.place((*domain.at, *([part] if part else [])))

    def tables(self) -> dict[str, Any]:
        """Return it as plain tables, from which an equal one is read."""
        own = self.space.model_dump(mode="json", exclude_none=True)
        return own | {"space": {each.name: each.table() for each in self.domains}}


def read_space(space: str | Path | Mapping[str, Any]) -> Spaced:
    """Read a space's file, or a space as tables, and check all that needs no task.

    Raises `InputError` (RC001 to RC003, RC010 to RC014) with every problem at once.
    """
    if isinstance(space, Mapping):
        document = Document(Path())
        layer = Layer(SPACE, Path())
        data: dict[str, Any] = plain(space, SPACE, Place(SPACE))
    else:
        document = Document(Path(space))
        text, data = read_toml(document.path)
        layer = Layer(str(space), document.path.parent, text)
    document.add(layer, data)
    checked = _model(Space, document, ())
    domains, problems = _domains(document, checked.space)
    problems += _conditions(document, domains)
    if not domains and not problems:
        place, cure = document.place(("space",)), "name one, as cell.hidden_size = [16, 32]"
        problems.append(Problem("RC013", "the space varies no key", "space", place, cure=cure))
    if problems:
        raise InputError(problems)
    return Spaced(document, checked, domains)


def _model(model: type[T], document: Document, at: Key) -> T:
    """Return the table at a key as a model. Raises `InputError` with every problem of it."""
    table: Any = document.data if not at else document.table(at)
    try:
        return model.model_validate_json(to_json(table))
    except ValidationError as error:
        raise InputError(checking.problems(error, document, at, model)) from error


def _domains(document: Document, tables: dict[str, Any]) -> tuple[list[Domain], list[Problem]]:
    """Return the domains of a space, and what is wrong with others."""
    domains: list[Domain] = []
    problems: list[Problem] = []
    for at, key, value in _leaves(tables, ("space",), ()):
        try:
            domain = _domain(document, at, key, value)
        except InputError as error:
            problems += error.problems
            continue
        if any(domain.name == other.name for other in domains):
            fact = f"{domain.name} stands in the space twice"
            problems.append(Problem("RC014", fact, domain.name, document.place(at)))
        domains.append(domain)
    if len(domains) > MOST_KEYS:
        fact = f"{len(domains)} keys are more than a sweep varies"
        place = document.place(("space",))
        problems.append(Problem("RC013", fact, "space", place, allowed=f"{MOST_KEYS} keys"))
    return domains, problems


def _leaves(tables: Mapping[str, Any], at: Key, key: Key) -> list[tuple[Key, Key, Any]]:
    """Return the domains in tables: where each stands, which key of a task it is about, itself."""
    found: list[tuple[Key, Key, Any]] = []
    for name, value in tables.items():
        here = (*at, name)
        parts = (*key, *(key_of(name) or (name,)))
        if isinstance(value, dict) and not _is_domain(value):
            found += _leaves(value, here, parts)
        else:
            found.append((here, parts, value))
    return found


def _is_domain(table: Mapping[str, Any]) -> bool:
    """Tell whether a table is a domain, and holds no further keys of a task."""
    named = table.keys() & {"low", "high", "choices", "log", "step", "when"}
    return not table or any(not isinstance(table[name], dict) for name in named)


def _domain(document: Document, at: Key, key: Key, value: Any) -> Domain:
    name = checking.dotted(key)
    place = document.place(at)
    if isinstance(value, list):
        try:
            model: Range | Choices = Choices.model_validate_json(to_json({"choices": value}))
        except ValidationError as error:
            size = f"{len(value):,} values are not 2 to {MOST_VALUES:,}"
            words = str(error.errors()[0].get("ctx", {}).get("error", size))
            fact = f"{name} cannot be chosen: {words.removeprefix('choices: ')}"
            raise InputError.of("RC013", fact, key=name, place=place) from error
    elif not isinstance(value, dict):
        got = checking.literal(value)
        allowed = "values, as [1, 2], or a range, as { low = 1, high = 2 }"
        cure = "a value that all trials have belongs into the task"
        fact = f"{name} is one value, and nothing to vary"
        raise InputError.of(
            "RC012", fact, key=name, place=place, got=got, allowed=allowed, cure=cure
        )
    elif "choices" in value:
        model = _model(Choices, document, at)
    else:
        model = _model(Range, document, at)
    when = {
        checking.dotted(path): each if isinstance(each, list) else [each]
        for path, each in leaves(_parted(model.when))
    }
    return Domain(name, at, model, when)


def _parted(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions with the parts of a dotted key, such as `"cell.kind"`, each by itself."""
    whole: dict[str, Any] = {}
    for name, value in tables.items():
        node = _parted(value) if isinstance(value, dict) else value
        *above, last = key_of(name) or (name,)
        inner = whole
        for part in above:
            inner = inner.setdefault(str(part), {})
        inner[str(last)] = node
    return whole


def _conditions(document: Document, domains: list[Domain]) -> list[Problem]:
    """Return what is wrong with conditions: each is of a choice that has none itself."""
    known = {
        each.name: each.model.choices
        for each in domains
        if isinstance(each.model, Choices) and not each.when
    }
    problems = []
    for domain in domains:
        for name, values in domain.when.items():
            place = document.place((*domain.at, "when"))
            if name not in known:
                fact = f"{name} is no key that this space chooses, and decides nothing"
                names = listing(known)
                close = nearest(name, known)
                problem = Problem("RC013", fact, f"{domain.name}.when", place, "", names, close)
                problems.append(problem)
                continue
            for value in values:
                if not any(same(value, choice) for choice in known[name]):
                    fact = f"{name} is never {checking.literal(value)} in this space"
                    allowed = listing(map(checking.literal, known[name]))
                    problem = Problem("RC013", fact, f"{domain.name}.when", place, "", allowed)
                    problems.append(problem)
    return problems
