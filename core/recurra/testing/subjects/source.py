"""What a check of a source is given."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from recurra.contracts.options import validate_options
from recurra.contracts.source import Piece, Role, Source
from recurra.contracts.vocabulary import Element
from recurra.errors import InputError
from recurra.randomness import seeded
from recurra.testing.answers import demand
from recurra.testing.check import NotApplicable
from recurra.testing.option_sets import folder
from recurra.testing.subjects.subject import SEED, Subject, names_some

ELEMENTS: tuple[Element, ...] = get_args(Element)
ROLES: tuple[Role, ...] = get_args(Role)


class SourceSubject(Subject[Source[Any]]):
    """A source under one set of options."""

    def source(self, move: Callable[[Path], Path] = lambda path: path) -> Source[Any]:
        """Return the source; `move` says where each file that its options name lies instead.

        Raises `NotApplicable` if it must be given its data.
        """
        self.needs("data")
        home = folder(self.entry)

        def moved(value: str, field: str) -> str:
            return str(move(home / value))

        options = validate_options(self.entry.options, self.table, moved)
        with seeded(SEED, "init"):
            source: Source[Any] = self.entry.target(options)
        return source

    def files(self) -> list[Path]:
        """Return the files, or patterns of them, that its options name.

        Raises `NotApplicable` if they name none.
        """
        named: list[Path] = []

        def note(path: Path) -> Path:
            named.append(path)
            return path

        self.source(note)
        if not named:
            raise NotApplicable("its options name no file")
        return named

    @property
    def offers(self) -> tuple[Element, ...]:
        """What elements it says it can give."""
        offers: tuple[Element, ...] = self.entry.target.offers
        sound = names_some(offers, ELEMENTS)
        demand(sound, f"offers is {offers!r}, not a tuple of {', '.join(ELEMENTS)}")
        return offers

    def given(self) -> Iterator[tuple[Element, list[Piece]]]:
        """Give every element that its options hold, with the pieces.

        What else it offers it refuses by `InputError`. Raises `Broken` if it refuses all.
        """
        refusals = []
        for element in self.offers:
            try:
                yield element, self.pieces(self.source(), element)
            except InputError as error:
                refusals.append(f"{element}: {error}")

        fact = "none of what it offers can be read: " + "; ".join(refusals)
        demand(len(refusals) < len(self.offers), fact)

    @staticmethod
    def pieces(source: Source[Any], element: Element) -> list[Piece]:
        """Return the pieces that a source gives, each a copy made as it came."""
        copies = []
        for values, start, columns in SourceSubject.reader(source, element):
            said = {role: _copied(value) for role, value in columns.items()}
            copies.append(Piece(copy.copy(values), start, said))
        return copies

    @staticmethod
    def reader(source: Source[Any], element: Element) -> Generator[Piece]:
        """Give what a source gives. Raises `Broken` if that is no pieces."""
        pieces = source.read(element)
        fact = f"read gives {type(pieces).__name__}, not an iterator"
        demand(isinstance(pieces, Iterable), fact)

        for piece in pieces:
            sound = isinstance(piece, Piece) and hasattr(piece.values, "__len__")
            demand(sound, f"read gives {type(piece).__name__}, not a Piece")
            columns = piece.columns
            demand(isinstance(columns, Mapping), f"columns are {type(columns).__name__}, no table")
            yield piece

    @staticmethod
    def columns(source: Source[Any]) -> Mapping[Role, tuple[Element, ...]]:
        """Return what a source says of its columns. Raises `Broken` if that is no table of them."""
        columns = source.columns()
        demand(isinstance(columns, Mapping), f"columns gives {type(columns).__name__}, not a table")

        for role, elements in columns.items():
            fact = f"columns names {role!r}, not one of {', '.join(ROLES)}"
            demand(role in ROLES, fact)
            sound = names_some(elements, ELEMENTS)
            demand(sound, f"columns says {role} is {elements!r:.60}, not a tuple of elements")

        named = ", ".join(columns) or "nothing"
        demand("input" in columns, f"columns names {named}, and no input")
        return columns


def _copied(value: Any) -> Any:
    """Return a copy of what stands beside a piece: of a list of texts, as tags are, a quick one."""
    if isinstance(value, list) and {*map(type, value)} <= {str}:
        return value.copy()
    return copy.deepcopy(value)
