"""Checks of a source: the same pieces at each reading, a fingerprint that knows of changes."""

from __future__ import annotations

import gc
import glob
import gzip
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from recurra.contracts.source import Piece, Source
from recurra.contracts.vocabulary import Element, Values
from recurra.errors import InputError
from recurra.testing import child
from recurra.testing.answers import demand
from recurra.testing.check import Broken, Measured, NotApplicable, check
from recurra.testing.hard_data import joined
from recurra.testing.readings import Whole, beyond, equal, same_values, whole
from recurra.testing.subjects.source import SourceSubject

CHEAP = 0.25
"""Seconds that a fingerprint may take."""
GROWN, LINES = 3 << 19, 120_000
"""Bytes to which a file is grown, beyond the block that most readers take, and lines at most."""


@check("S01", "read again, it gives the same", "source", firm=True)
def repeatable(subject: SourceSubject) -> None:
    """Reading twice, in turns, or from another instance gives the same pieces, and a piece stays
    what it was.

    A corpus is read once to fit the vocabulary and once to encode it; a run that is resumed reads
    it again. A file that is opened in the constructor is empty the second time, and one buffer for
    all pieces makes of each the last one. To mend it: open and begin in `read`, derive random data
    from a seed among the options, and yield a new array each time.
    """
    for element, pieces in subject.given():
        source = subject.source()
        equal(subject.pieces(source, element), pieces, f"{element}, another instance")
        equal(subject.pieces(source, element), pieces, f"{element}, read again")
        # As they came, and no copies: a buffer for all makes of each the last one.
        originals = list(subject.reader(source, element))
        equal(originals, pieces, f"{element}, kept until the end")

        one, other = subject.reader(source, element), subject.reader(source, element)
        turns = list(zip_longest(one, other))
        whole = all(None not in turn for turn in turns)
        demand(whole, f"{element}: two that read in turns get different numbers of pieces")
        for index in (0, 1):
            equal([turn[index] for turn in turns], pieces, f"{element}, in turns")


@check("S02", "pieces are what was asked for", "source", firm=True)
def pieces_are_typed(subject: SourceSubject) -> None:
    """Text is a `str`, tokens a `list` of `str`, numbers an array `[n, F]` of finite float64, of
    one width F.

    What it offers and its options do not hold, it refuses by `InputError`; at least one thing it
    gives. An array of float32 has lost what the vocabulary would have scaled; a missing value must
    be refused or filled in here, unless `keeps_missing` says that nan is one. To mend it: convert
    with `np.asarray(rows, np.float64)`, and raise `InputError` (RC042) with the row.
    """
    keeps = subject.source().keeps_missing
    for element, pieces in subject.given():
        widths = set()
        for index, piece in enumerate(pieces):
            fault = _fault(element, piece.values, keeps)
            demand(not fault, f"{element}, piece {index}: {fault}")
            widths.add(piece.values.shape[1] if element == "numbers" else 1)
        fact = f"{element}: there is nothing at all"
        demand(any(len(piece.values) for piece in pieces), fact)
        fact = f"{element}: rows are {sorted(widths)} wide"
        demand(len(widths) == 1, fact)


def _fault(element: Element, values: Values, keeps: bool) -> str:
    """Return what is wrong with the values of a piece, of which it `keeps` what is missing."""
    if element == "text":
        return "" if isinstance(values, str) else f"{type(values).__name__}, not str"
    if element == "tokens":
        right = isinstance(values, list) and all(isinstance(token, str) for token in values)
        return "" if right else f"{type(values).__name__} that is no list of str"

    if not isinstance(values, np.ndarray):
        return f"{type(values).__name__}, not float64 [n, F]"
    if values.dtype != np.float64 or values.ndim != 2:
        return f"{values.dtype} {list(values.shape)}, not float64 [n, F]"
    sound = np.isfinite(values) | (keeps & np.isnan(values))
    return "" if sound.all() else "a value is not finite"


@check("S03", "sequences have a start, and features a name", "source", firm=True)
def starts(subject: SourceSubject) -> None:
    """The first piece starts a sequence, `start` is a bool, and `features` names each column of
    numbers, or none.

    A piece without `start` goes on where the one before it ended: a network that carries its state
    reads it so. The names are shown beside forecasts, each to its column. To mend it: yield
    `Piece(values, start)`, with `start` true for the first piece of each sequence.
    """
    for element, pieces in subject.given():
        flags = all(isinstance(piece.start, bool) for piece in pieces)
        demand(flags, f"{element}: a start is no bool")
        begun = not pieces or pieces[0].start
        demand(begun, f"{element}: the first piece does not start a sequence")

        # Asked before the data is read, and after: a list must come both times.
        source = subject.source()
        names = source.features()
        listed(names, "features")
        listed(source.gaps(), "gaps")
        subject.pieces(source, element)
        listed(source.gaps(), "gaps")

        if element == "numbers" and names:
            width = pieces[0].values.shape[1]
            fact = f"{len(names)} features are named, and rows are {width} wide"
            demand(len(names) == width, fact)


def listed(names: Any, what: str) -> None:
    """Raise `Broken` unless these are names, in a list."""
    right = isinstance(names, list) and all(isinstance(name, str) for name in names)
    demand(right, f"{what} gives {names!r:.60}, not a list of str")


ELSEWHERE = """
target, options = argument
model = getattr(load(*options[0]), options[1])
tell(getattr(load(*target[0]), target[1])(model.model_validate_json(options[2])).fingerprint())
"""


@check("S04", "the fingerprint is firm and cheap", "source", firm=True, each=False)
def fingerprint_is_stable(subject: SourceSubject) -> Measured:
    """The fingerprint is one text: asked again, of another instance, after reading, and in another
    process.

    It is asked for whenever a task runs, to find what was encoded before, and must not read the
    data: less than 0.25 s. Python's `hash` of a text is another number in every process, so that
    nothing is ever found again. To mend it: take names, sizes and times of files, or `hashlib` of
    what the options hold.
    """
    source = subject.source()
    first = source.fingerprint()
    fact = f"the fingerprint is {first!r:.60}"
    demand(isinstance(first, str) and bool(first), fact)
    list(subject.given())

    # The fastest of three: the machine may be busy.
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        fingerprint = subject.source().fingerprint()
        seconds.append(time.perf_counter() - start)
        demand(fingerprint == first, "the fingerprint of another instance is another one")
    demand(source.fingerprint() == first, "the fingerprint changes by being asked for")
    _unread(subject)
    demand(_elsewhere(subject) == first, "in another process the fingerprint is another one")
    return Measured(min(seconds), CHEAP, "seconds for a fingerprint")


def _unread(subject: SourceSubject) -> None:
    """Raise `Broken` if the fingerprint is made by reading."""

    def read(self: Source[Any], element: Element) -> NoReturn:
        raise Broken("the fingerprint reads the data")

    watched = type("Watched", (subject.entry.target,), {"read": read})
    watched(subject.source().options).fingerprint()


def _elsewhere(subject: SourceSubject) -> Any:
    """Return the fingerprint that a process with other hashes gives."""
    options = subject.source().options.model_dump_json()
    target, model = child.places(subject.entry)
    argument = [target, [*model, options]]
    return child.run(ELSEWHERE, argument, PYTHONHASHSEED=child.other_hashes())


@check("S05", "the fingerprint follows the files", "source", firm=True)
def fingerprint_follows(subject: SourceSubject) -> None:
    """A file that grew, or holds something else of the same length, has another fingerprint.

    What was encoded under an old fingerprint is taken for the data of today: the task trains on
    text that is no longer there. Read again, it gives what stands there now, as a copy of the file
    does. To mend it: name, size and `st_mtime_ns` of every file, and a cache, if any, by the
    fingerprint.
    """
    for shorter in (True, False):
        _read_anew(subject, shorter)

    with _copies(subject) as (source, path):
        first = source.fingerprint()
        content, times = path.read_bytes(), path.stat()
        path.write_bytes(content + content[-1:])
        fact = "a file grew, and the fingerprint is the same"
        demand(source.fingerprint() != first, fact)

        # As long as before, and two seconds younger: some systems keep time by whole seconds.
        path.write_bytes(_other_end(content))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 2_000_000_000))
        fact = "a file holds something else, and the fingerprint is the same"
        demand(source.fingerprint() != first, fact)


def _other_end(content: bytes) -> bytes:
    """Return as many bytes, of which the last is another one."""
    if not content:
        return b""
    return content[:-1] + bytes([content[-1] ^ 1])


def _read_anew(subject: SourceSubject, shorter: bool) -> None:
    """Raise `Broken` if a source that has read a file tells otherwise of a change than a new one.

    The file then is half as long, or twice.
    """
    with _copies(subject) as (source, path), _copies(subject) as (other, copy):
        _today(subject, source)
        content = path.read_bytes()
        changed = content[: len(content) // 2] if shorter else content + content
        for file in (path, copy):
            file.write_bytes(changed)

        now, expected = _today(subject, source), _today(subject, other)
        demand(now.keys() == expected.keys(), "a file is changed, and what the source gives is not")
        for element, pieces in expected.items():
            equal(now[element], pieces, f"{element}, of a file that is changed")


def _today(subject: SourceSubject, source: Source[Any]) -> dict[Element, list[Piece]]:
    """Return what a source gives now, of each element that it does not refuse."""
    pieces = {}
    for element in subject.offers:
        with suppress(InputError):
            pieces[element] = subject.pieces(source, element)
    return pieces


@contextmanager
def _copies(subject: SourceSubject) -> Iterator[tuple[Source[Any], Path]]:
    """Lend the source over copies of all its files, and the largest of these copies.

    Raises `NotApplicable` if its options name no file.
    """
    named = subject.files()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        moved = {path: _copied(path, home / str(index)) for index, path in enumerate(named)}
        files = sorted(path for path in home.rglob("*") if path.is_file())
        demand(bool(files), f"there is no file {named[0]}")
        source = subject.source(lambda path: moved[path])
        yield source, max(files, key=lambda path: path.stat().st_size)


def _copied(path: Path, into: Path) -> Path:
    """Copy a file, a folder or all that a pattern matches into a folder.

    Return its path, or the pattern, there. A part of the path that exists is no pattern, whatever
    marks it holds.
    """
    root = path.parent
    while not root.exists():
        root = root.parent
    into.mkdir(parents=True)

    # What does not exist is a pattern from the last folder that does, such as `**/*.txt`.
    pattern = glob.escape(path.name) if path.exists() else str(path.relative_to(root))
    for name in glob.glob(pattern, root_dir=root, recursive=True):
        origin, target = root / name, into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(origin, target)
    return into / path.relative_to(root)


@check("S06", "what cannot be read is told", "source", firm=True)
def unreadable(subject: SourceSubject) -> None:
    """A file that is missing, or a folder in its place, raises `InputError` that names it; so may
    bytes at random.

    No other exception comes out: a traceback tells the author of the source where it happened, and
    the author of the task nothing. To mend it: catch `OSError` and what the parser raises, and
    raise `InputError` (RC040 for a file, RC042 for a value in it) with the path and the row.
    """
    named = subject.files()
    first = named[0]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        missing = {path: home / f"missing{index}" / path.name for index, path in enumerate(named)}
        source = subject.source(lambda path: missing[path])
        _refused(subject, source, "a file that is missing", first.name)
        if first.is_file():
            source = subject.source(lambda path: home)
            _refused(subject, source, "a folder", home.name)

    # Bytes at random may be refused, or be data by chance.
    with _copies(subject) as (source, path):
        draw = np.random.Generator(np.random.Philox(5))
        path.write_bytes(draw.bytes(3000))
        _read_or_refused(subject, source)


def _refused(subject: SourceSubject, source: Source[Any], what: str, name: str) -> None:
    """Raise `Broken` unless a source refuses to read, by an error that names what it cannot."""
    for element in subject.offers:
        try:
            source.fingerprint()
            list(subject.reader(source, element))
        except InputError as error:
            fact = f"{what}: the error does not name it: {error!s:.100}"
            demand(name in str(error), fact)
            continue
        raise Broken(f"{what} is read as {element}")


def _read_or_refused(subject: SourceSubject, source: Source[Any]) -> None:
    """Raise `Broken` if bytes at random are read as what they are not."""
    for element in subject.offers:
        try:
            pieces = list(subject.reader(source, element))
        except InputError:
            continue
        for piece in pieces:
            fault = _fault(element, piece.values, source.keeps_missing)
            demand(not fault, f"bytes at random are read as {element}: {[fault]}")


@check("S07", "blocks do not show", "source", firm=True, each=False)
def blocks(subject: SourceSubject) -> None:
    """A file that grew by its last line, many thousand times, gives what it gave, and then that
    line's share each time.

    So large a file is read in blocks: a line, or a character of several bytes, that a block cuts
    must come whole, sequences must begin where they did, and tags and covariates stay with their
    elements, into however many pieces these are cut. To mend
    it: hold back what comes after the last line end, and decode with
    `codecs.getincrementaldecoder`.
    """
    for element, _ in subject.given():
        with _copies(subject) as (source, path):
            first, line = _lines(path)
            times = min(GROWN // len(line) + 1, LINES)
            try:
                plain, one, two, grown = (
                    _grown(subject.reader(source, element), element, path, first + line * count)
                    for count in (0, 1, 2, times)
                )
            except InputError as error:
                raise NotApplicable(f"its file does not grow by a line: {error!s:.80}") from error

        # What a line adds: if a second one adds as much, so must many.
        share = beyond(plain, one)
        if share is None or beyond(one, two) != share:
            raise NotApplicable("its data does not grow by a line of its file")
        _is_grown(grown, plain, one, times, element)


def _is_grown(grown: Whole, plain: Whole, one: Whole, times: int, element: Element) -> None:
    """Raise `Broken` unless data is the `plain` one, and so many times what a line adds to it.

    `one` has that line once.
    """
    old = len(plain.values)
    added = one.values[old:]
    values = joined([plain.values, *[added] * times], element)
    alike = same_values(grown.values, values)
    demand(alike, f"{element}: a large file gives other values than small ones")

    # Where the line's sequences begin, counted from where it stands.
    begins = [place - old for place in one.starts[len(plain.starts) :]]
    places = []
    for turn in range(times):
        low = old + turn * len(added)
        places += [low + begin for begin in begins]
    alike = grown.starts == plain.starts + places
    demand(alike, f"{element}: sequences of a large file begin elsewhere")
    tags = plain.tags + one.tags[len(plain.tags) :] * times
    demand(grown.tags == tags, f"{element}: elements of a large file have other tags")
    beside = plain.beside + one.beside[len(plain.beside) :] * times
    fact = f"{element}: other covariates stand beside the elements of a large file"
    demand(grown.beside == beside, fact)


def _grown(reader: Iterator[Piece], element: Element, path: Path, content: bytes) -> Whole:
    """Return what a reader that has not begun gives of a file with this content."""
    with _opened(path, "wb") as file:
        file.write(content)
    return whole(reader, element)


def _lines(path: Path) -> tuple[bytes, bytes]:
    """Return a file's content, which then ends with a newline, and its last line."""
    with _opened(path, "rb") as file:
        text: bytes = file.read().rstrip(b"\r\n")
    last = text.rfind(b"\n") + 1
    return text + b"\n", text[last:] + b"\n"


def _opened(path: Path, mode: str) -> Any:
    """Return a file that is open for bytes, packed where its name says so."""
    return gzip.open(path, mode) if path.suffix == ".gz" else path.open(mode)


@check("S08", "one can stop early", "source")
def stops_early(subject: SourceSubject) -> None:
    """A reader that takes one piece and no more leaves nothing open, and the next one gets
    everything.

    An error in the middle of a corpus, or an interruption, ends the reading there. A file that is
    left to the garbage collector stays open, on some systems locked. To mend it: open files in a
    `with` of the generator that reads them.
    """
    for element, pieces in subject.given():
        source = subject.source()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", ResourceWarning)
            reader = subject.reader(source, element)
            next(iter(reader), None)
            # An open file warns when it is collected.
            del reader
            gc.collect(1)
        for warning in warned:
            left_open = issubclass(warning.category, ResourceWarning)
            demand(not left_open, f"{element}: {warning.message}")
        equal(subject.pieces(source, element), pieces, f"{element}, after one that stopped early")
