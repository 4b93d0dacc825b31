"""What a check of a source is given."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from recurra.contracts.options import validate_options
from recurra.contracts.source import Piece, Role, Source
from recurra.contracts.vocabulary import Element
from recurra.errors import InputError
from recurra.randomness import seeded
from recurra.testing.answers import demand
from recurra.testing.check import NotApplicable
from recurra.testing.option_sets import folder
from recurra.testing.subjects.subject import SEED, Subject


class SourceSubject(Subject):
    """A source under one set of options."""

    def source(self, move: Callable[[Path], Path] = lambda path: path) -> Source[Any]:
        """Return the source; `move` says where each file that its options name lies instead."""
        home = folder(self.entry)
        options = validate_options(
            self.entry.options, self.table, lambda value, field: str(move(home / value))
        )
        with seeded(SEED, "init"):
            return cast(Source[Any], self.entry.target(options))

    def files(self) -> list[Path]:
        """Return the files, or patterns of them, that its options name. Raises `NotApplicable` if
        they name none.
        """
        found: list[Path] = []
        self.source(lambda path: found.append(path) or path)  # type: ignore[func-returns-value]
        if not found:
            raise NotApplicable("its options name no file")
        return found

    @property
    def offers(self) -> tuple[Element, ...]:
        """What elements it says it can give."""
        offers = self.entry.target.offers
        known = isinstance(offers, tuple) and offers and set(offers) <= set(get_args(Element))
        demand(bool(known), f"offers is {offers!r}, not a tuple of {', '.join(get_args(Element))}")
        return cast(tuple[Element, ...], offers)

    def given(self) -> Iterator[tuple[Element, list[Piece]]]:
        """Give every element that its options hold, with the pieces; what else it offers it refuses
        by `InputError`.

        Raises `Broken` if there is none.
        """
        refusals = []
        for element in self.offers:
            try:
                yield element, self.pieces(self.source(), element)
            except InputError as error:
                refusals.append(f"{element}: {error}")
        demand(
            len(refusals) < len(self.offers),
            "none of what it offers can be read: " + "; ".join(refusals),
        )

    @staticmethod
    def pieces(source: Source[Any], element: Element) -> list[Piece]:
        """Return the pieces that a source gives, each a copy made as it came."""
        return [
            Piece(copy.copy(values), start, dict(columns))
            for values, start, columns in SourceSubject.reader(source, element)
        ]

    @staticmethod
    def reader(source: Source[Any], element: Element) -> Generator[Piece]:
        """Give what a source gives. Raises `Broken` if that is no pieces."""
        given = source.read(element)
        demand(isinstance(given, Iterable), f"read gives {type(given).__name__}, not an iterator")
        for piece in given:
            right = isinstance(piece, Piece) and hasattr(piece.values, "__len__")
            demand(right, f"read gives {type(piece).__name__}, not a Piece")
            columns = piece.columns
            demand(isinstance(columns, Mapping), f"columns are {type(columns).__name__}, no table")
            yield piece

    @staticmethod
    def columns(source: Source[Any]) -> Mapping[Role, tuple[Element, ...]]:
        """Return what a source says of its columns. Raises `Broken` if that is no table of them."""
        given = source.columns()
        demand(isinstance(given, Mapping), f"columns gives {type(given).__name__}, not a table")
        for role, elements in given.items():
            demand(
                role in get_args(Role),
                f"columns names {role!r}, not one of {', '.join(get_args(Role))}",
            )
            known = (
                isinstance(elements, tuple) and elements and set(elements) <= set(get_args(Element))
            )
            demand(bool(known), f"columns says {role} is {elements!r:.60}, not a tuple of elements")
        demand("input" in given, f"columns names {', '.join(given) or 'nothing'}, and no input")
        return given
