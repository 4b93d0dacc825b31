"""A task whose every table has been checked, and the components that it uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import tomli_w

from recurra.catalog import Catalog, Entry
from recurra.contracts.calendar import Calendar
from recurra.contracts.distribution import Distribution
from recurra.contracts.source import COVARIATES
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.answers import ANSWERS
from recurra.data.marks import Marked
from recurra.errors import InputError, Problem, RecurraError
from recurra.spec import checking
from recurra.spec.document import Document
from recurra.spec.tables import TRACK, Task

if TYPE_CHECKING:
    from recurra.contracts.source import Role, Source
    from recurra.contracts.target import Target


@dataclass(frozen=True)
class Part:
    """A component as a task uses it: where it comes from, and its options."""

    entry: Entry
    options: Any

    def build(self, *arguments: Any) -> Any:
        """Return an instance, its options last."""
        return self.entry.target(*arguments, self.options)

    def table(self) -> dict[str, Any]:
        """Return the table of the resolved task: the qualified kind and every option."""
        return {
            "kind": self.entry.qualified,
            **self.options.model_dump(mode="json", exclude_none=True),
        }


@dataclass
class Resolved:
    """A task whose every table has been checked."""

    document: Document
    task: Task
    catalog: Catalog
    parts: dict[str, Part] = field(default_factory=dict)
    cells: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    given: Source[Any] | None = None
    """The source, where a program has given it its data."""
    trackers: list[Part] = field(default_factory=list)
    """What is told of the run while it is trained; it is no part of the task."""

    def source(self) -> Source[Any]:
        """Return where sequences come from."""
        made: Source[Any] = self.given or self.parts["source"].build()
        made.label_elements = self.target.answers
        return made

    def giving(self, data: Any) -> Resolved:
        """Return the task with data that its source takes. Raises `InputError`."""
        part = self.parts["source"]
        with self.placing():
            source: Source[Any] = part.build()
            options = source.take(data)
        parts = {**self.parts, "source": replace(part, options=options)}
        return replace(self, parts=parts, given=source)

    def cell_key(self, index: int) -> str:
        """Return the key of the table of a cell."""
        return f"cell.stack.{index}" if "stack" in self.task.cell else "cell"

    def in_one_window(self, longest: int) -> None:
        """Take the longest sequence for the length of a window, where the task says no length.

        All of a sequence shall then be one window.
        """
        if not self.task.sequence.length:
            sequence = self.task.sequence.model_copy(update={"length": longest})
            self.task = self.task.model_copy(update={"sequence": sequence})

    def all_ahead(self) -> None:
        """Take all elements that answer a step for what is generated, where there are several."""
        if self.target.ahead:
            generation = self.task.generation.model_copy(update={"length": self.target.ahead})
            self.task = self.task.model_copy(update={"generation": generation})

    def check_ahead(self, name: str, steps: int) -> None:
        """Refuse to foresee more steps than are answered at once. Raises `InputError` (RC080)."""
        ahead = self.target.ahead
        if ahead and steps > ahead:
            target = self.parts["target"].entry.component.name
            fact = f"target {target!r} answers {ahead} steps, and no more"
            cure = f"{name} = {ahead}, or train with target.length = {steps}"
            raise InputError.of("RC080", fact, got=f"{name} = {steps}", cure=cure)

    @property
    def levels(self) -> tuple[float, ...]:
        """At which levels quantiles are measured, where the loss is a distribution."""
        loss, options = self.parts["loss"].entry.target, self.parts["loss"].options
        return loss.levels_of(options) if issubclass(loss, Distribution) else ()

    @cached_property
    def target(self) -> Target[Any]:
        """What is asked of a sequence."""
        made: Target[Any] = self.parts["target"].build()
        return made

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """What the columns of the data are for."""
        with self.placing():
            return tuple(self.source().columns())

    @property
    def needed(self) -> tuple[Role, ...]:
        """The columns beside the input that the task needs."""
        asked: tuple[Role, ...] = () if self.target.asks == "input" else (self.target.asks,)
        given: tuple[Role, ...] = ("fold", "time", *COVARIATES)
        return (*asked, *(role for role in given if role in self.roles))

    @cached_property
    def calendar(self) -> Calendar | None:
        """What is read of the time stamps of the data, if anything is."""
        with self.placing():
            calendar: Calendar | None = self.source().calendar()
            return calendar

    @property
    def asks_ahead(self) -> bool:
        """Whether each step is asked of what comes after it, of which something may be known."""
        return self.target.scope == "step" and self.target.reach > 0

    @property
    def covariates(self) -> tuple[Role, ...]:
        """The columns that are read beside the input."""
        return tuple(role for role in COVARIATES if role in self.roles)

    @cached_property
    def answers(self) -> type[Vocabulary[Any]]:
        """The kind of vocabulary that the answers are of."""
        if self.target.asks == "input":
            vocabulary: type[Vocabulary[Any]] = self.parts["vocabulary"].entry.target
            return vocabulary
        if self.target.scope == "answer":
            return Marked
        return ANSWERS[self.target.answers]

    @property
    def used(self) -> list[Part]:
        """Every component of the task."""
        return [*self.parts.values(), *self.cells]

    def local_hashes(self) -> dict[str, list[str]]:
        """Return the hashes of the local plugins that the task names, by their distributions."""
        hashes: dict[str, list[str]] = {}
        for plugin in self.catalog.plugins:
            if plugin.is_local:
                hashes.setdefault(plugin.distribution, []).append(plugin.version)
        return hashes

    def tables(self) -> dict[str, Any]:
        """Return the whole task as plain tables: read back, they give an equal task.

        Trackers are left out: with them or without, a run is the same.
        """
        tables = self.task.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude={TRACK}
        )
        free = tables["training"]["optimizer"]  # no model of ours says what may be None in it
        tables["training"]["optimizer"] = {
            name: value for name, value in free.items() if value is not None
        }
        for name, part in self.parts.items():
            tables[name] = part.table()
        stacked = "stack" in self.task.cell
        tables["cell"] = (
            {"stack": [part.table() for part in self.cells]} if stacked else self.cells[0].table()
        )
        return tables

    def toml(self) -> str:
        """Return the whole task as TOML."""
        return tomli_w.dumps(self.tables(), multiline_strings=False)

    @contextmanager
    def placing(self) -> Iterator[None]:
        """Give every error inside the place of the key that it is about."""
        try:
            yield
        except RecurraError as error:
            raise type(error)(
                self.place(problem) for problem in error.problems
            ) from error.__cause__

    def place(self, problem: Problem) -> Problem:
        """Return a problem with its place in the task file, if it names a key and has none."""
        if problem.place or not problem.key:
            return problem
        key = checking.path_of(problem.key)
        return replace(problem, key=checking.dotted(key), place=self.document.place(key))
