"""Checks of a source of a file, over another file of the same form."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from recurra.contracts.source import COVARIATES, Piece, Role, Source
from recurra.contracts.vocabulary import Element
from recurra.errors import InputError
from recurra.testing.answers import demand
from recurra.testing.check import Broken, NotApplicable, check
from recurra.testing.readings import same_said, same_values, whole
from recurra.testing.subjects.source import SourceSubject

ANSWERS: tuple[Role, ...] = ("label", "answer", "fold", "tags")
"""What a file of new sequences has not."""
KEPT: tuple[Role, ...] = ("time", *COVARIATES)
"""What it has as the file of the run had it."""


@check("S15", "another file reads alike", "source", firm=True, since="1.1")
def over(subject: SourceSubject) -> None:
    """`over` gives a source that reads another file as one with that path among its options does:
    the same elements, covariates, stamps and names of features; without labels, answers, folds and
    tags, and whatever has become of its own file.

    So `recurra predict RUN FILE` reads what a run never saw, when the data that it was trained on
    may be gone. A sequence that cannot be read is an `InputError` in the place of its elements, and
    may be named by `series`. A file that is missing is told by its name. To mend it: build the
    source anew from its options, with the other path and without the columns that nobody can fill
    in yet. A source that reads no other file refuses by `InputError` (RC080), as it does by itself.
    """
    named = subject.files()
    if len(named) != 1 or not named[0].is_file():
        raise NotApplicable("its options name no single file")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        own, new = home / "own" / named[0].name, home / "new" / f"new{named[0].suffix}"
        for path in (own, new):
            path.parent.mkdir()
            shutil.copyfile(named[0], path)
        expected = _of_the_form(subject, new)
        source = subject.source(lambda path: own)
        other = _over(source, new)
        own.unlink()

        told = subject.columns(other)
        wrong = [role for role in ANSWERS if role in told]
        demand(not wrong, f"of another file it names {wrong}, which nobody knows yet")
        before = subject.columns(subject.source(lambda path: new))
        for role in KEPT:
            demand((role in told) == (role in before), f"of another file it forgets the {role}")
        for element, pieces in expected.items():
            _reads_alike(subject, other, element, pieces)
        demand(isinstance(other.named, str), f"named is {other.named!r:.60}, not str")

        missing = home / "missing" / named[0].name
        try:
            away = source.over(str(missing))
            [*subject.reader(away, next(iter(expected)))]
        except InputError as error:
            fact = f"a file that is missing: the error does not name it: {error!s:.100}"
            demand(missing.name in str(error), fact)
        else:
            raise Broken("a file that is missing is read as another one")


def _over(source: Source[Any], path: Path) -> Source[Any]:
    """Return a source of another file. Raises `NotApplicable` if it takes none."""
    try:
        other = source.over(str(path))
    except InputError as error:
        code = error.problems[0].code
        demand(code == "RC080", f"another file is refused by {code}: {error!s:.100}")
        raise NotApplicable("it reads no other file") from error
    fact = f"over gives {type(other).__name__}, not a Source"
    demand(isinstance(other, Source), fact)
    return other


def _of_the_form(subject: SourceSubject, path: Path) -> dict[Element, list[Piece]]:
    """Return what a source with this path gives, of a file that is shorter by a line if it can be.

    That is of each element that it does not refuse.
    """
    content = path.read_bytes()
    shorter = content.rstrip(b"\r\n").rpartition(b"\n")[0] + b"\n"
    for text in (shorter, content):
        path.write_bytes(text)
        given = {}
        for element in subject.offers:
            try:
                given[element] = subject.pieces(subject.source(lambda path_: path), element)
            except InputError:
                continue
        if any(len(piece.values) for pieces in given.values() for piece in pieces):
            return given
    raise NotApplicable("a copy of its file cannot be read")


def _reads_alike(
    subject: SourceSubject, other: Source[Any], element: Element, expected: list[Piece]
) -> None:
    """Raise `Broken` unless a source gives, of each sequence that can be read, what is expected."""
    pieces = []
    for piece in other.read(element):
        demand(isinstance(piece, Piece), f"read gives {type(piece).__name__}, not a Piece")
        wrong = [role for role in ANSWERS if role in piece.columns]
        demand(not wrong, f"{element}: a sequence of another file has {wrong}")
        name = piece.columns.get("series", "-")
        demand(isinstance(name, str), f"{element}: a sequence is called {name!r:.60}")
        if not isinstance(piece.values, InputError):
            pieces.append(piece)

    one, two = whole(pieces, element), whole(expected, element)
    what = f"{element}: of another file"
    demand(same_values(one.values, two.values), f"{what} it gives other values")
    demand(one.starts == two.starts, f"{what} sequences begin elsewhere")
    beside = one.beside == two.beside and one.ahead == two.ahead
    demand(beside, f"{what} other covariates stand beside the elements")
    for mine, theirs in zip(one.said, two.said, strict=True):
        kept = [{role: said[role] for role in KEPT if role in said} for said in (mine, theirs)]
        demand(same_said(*kept), f"{what} a sequence has {kept[0]}, not {kept[1]}")
    names = other.features()
    fact = f"{what} features are called {names!r:.60}"
    demand(element != "numbers" or not names or len(names) == one.values.shape[1], fact)
