"""Pieces of words: byte-level byte-pair encoding, by the package tokenizers."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from recurra import Field, FilePath, InputError, Options, UnknownSymbol, Vocabulary
from recurra_vocabularies.pieces import of_bytes, piece_of, pieces_of

USUAL = 8192
LEAST = 2
CUTTING = {"ByteLevel", "Split", "Digits", "Punctuation", "UnicodeScripts"}
"""What cuts a text and keeps it, unless an option says otherwise."""


class BPEOptions(Options):
    """Options of bpe."""

    size: int = Field(
        USUAL, ge=256, le=1 << 20, description="symbols: the 256 bytes, and pieces joined of them"
    )
    min_frequency: int = Field(
        LEAST, ge=1, le=1 << 30, description="how often two pieces must stand together to be joined"
    )
    path: FilePath | None = Field(
        None, description="a tokenizer.json of byte-level BPE, in the place of one that is learned"
    )

    @model_validator(mode="after")
    def _given_or_learned(self) -> BPEOptions:
        if self.path is not None and (self.size, self.min_frequency) != (USUAL, LEAST):
            raise ValueError("path: what it holds has its own size; leave size, min_frequency out")
        return self


class BPE(Vocabulary[BPEOptions]):
    """Each symbol is a run of bytes: the 256 bytes themselves, and pairs joined again and again.

    Sennrich, Haddow & Birch 2016, arXiv:1508.07909, on the bytes of UTF-8 (Radford et al. 2019,
    GPT-2): nothing is ever unknown, and decoding gives the text back. Pieces never reach over the
    end of a line, and a word keeps the space before it. Of one that is learned each line is cut by
    itself; one of a file cuts as it was made to, and its special tokens are symbols as well.
    """

    unit: ClassVar[str] = "piece"

    def __init__(self, options: BPEOptions) -> None:
        super().__init__(options)
        self._needed()
        self.tokenizer: Any = None
        self.pieces: list[bytes] = []

    def _needed(self) -> None:
        """Refuse to be without the package. Raises `InputError` (RC031)."""
        try:
            import tokenizers  # noqa: F401
        except ImportError as error:
            fact = f"vocabulary bpe needs the package tokenizers: {error}"
            cure = 'pip install "recurra[text]"'
            raise InputError.of("RC031", fact, key="vocabulary.kind", cure=cure) from error

    @property
    def size(self) -> int:
        """The number of pieces; 0 before there is any text."""
        return len(self.pieces)

    @property
    def lossless(self) -> bool:
        """Whether decoding gives the text back: one of a file may fold, add or drop some."""
        if self.tokenizer is None:
            return True
        kept = json.loads(self.tokenizer.to_str())
        stripped = any(token["lstrip"] or token["rstrip"] for token in kept["added_tokens"])
        return not (kept["normalizer"] or stripped) and _only_cuts(kept["pre_tokenizer"])

    def fit(self, runs: Iterable[str]) -> None:
        """Learn which pieces stand together, or take those of the file."""
        given = _Runs(runs)
        if self.options.path is None:
            tokenizer = _trained(given, self.options)
        else:
            tokenizer = _read(self.options.path)
            given.look()
        if given.fault is not None:
            raise given.fault
        self._take(tokenizer if given.any else None)

    def _take(self, tokenizer: Any) -> None:
        """Keep a tokenizer, and what bytes each of its symbols stands for."""
        self.tokenizer = tokenizer
        self.pieces = [] if tokenizer is None else pieces_of(tokenizer)

    def notes(self) -> list[str]:
        """Return that decoding may not give the text back, where it may not."""
        if self.lossless:
            return []
        return ["the tokenizer of the file folds, adds or drops parts of a text, as it was made to"]

    def fingerprint(self) -> str:
        """Return that of the file, if there is one."""
        path = self.options.path
        return "" if path is None else hashlib.sha256(_bytes(path)).hexdigest()

    def encode(self, values: str) -> NDArray[np.int64]:
        """Return the pieces of a text. Raises `UnknownSymbol` for half of a surrogate pair."""
        try:
            encoding = self.tokenizer.encode(values, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):
            at = next(index for index, mark in enumerate(values) if "\ud800" <= mark <= "\udfff")
            raise UnknownSymbol(values[at], at) from None
        return np.array(encoding.ids, np.int64)

    def decode(self, ids: NDArray[Any]) -> str:
        """Return the text of pieces; what is no UTF-8 becomes U+FFFD."""
        raw = b"".join([self.pieces[index] for index in np.asarray(ids).tolist()])
        return raw.decode("utf-8", "replace")

    def symbol(self, index: int) -> str:
        """Return the text of a piece, or its bytes in hexadecimal where it is half a character."""
        piece = self.pieces[index]
        try:
            return piece.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"\\x{byte:02x}" for byte in piece)

    def streamer(self) -> Callable[[int], str]:
        """Return a function that gives a character once all its bytes have come."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda index: decoder.decode(self.pieces[index])

    def save(self) -> dict[str, Any]:
        """Return the whole tokenizer, in the form of its file."""
        if self.tokenizer is None:
            return {"tokenizer": None}
        return {"tokenizer": json.loads(self.tokenizer.to_str())}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take the tokenizer back: no file is read."""
        from tokenizers import Tokenizer

        kept = saved["tokenizer"]
        self._take(None if kept is None else Tokenizer.from_str(json.dumps(kept)))


class _Runs:
    """Gives texts one by one, and keeps whether there was any, and the error that ended them.

    What is raised inside tokenizers loses its type.
    """

    def __init__(self, runs: Iterable[str]) -> None:
        self.runs = runs
        self.any = False
        self.fault: Exception | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for run in self.runs:
                self.any = self.any or bool(run)
                yield run
        except Exception as error:
            self.fault = error

    def look(self) -> None:
        """Go on to the first text that is not empty."""
        for _ in self:
            if self.any:
                return


def _trained(runs: Iterable[str], options: BPEOptions) -> Any:
    """Return a tokenizer that has learned from texts, in one pass."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    # A line keeps its end, so that what a line is cut into hangs on it alone.
    lines = pre_tokenizers.Split(Regex("\n"), "merged_with_previous")
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([lines, words])
    tokenizer.decoder = decoders.ByteLevel()

    trainer = trainers.BpeTrainer(
        vocab_size=options.size,
        min_frequency=options.min_frequency,
        initial_alphabet=sorted(of_bytes()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(iter(runs), trainer)
    return tokenizer


def _bytes(path: str) -> bytes:
    """Return what a file holds. Raises `InputError` (RC001)."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        fact = f"the tokenizer cannot be read: {path}: {error.strerror}"
        raise InputError.of("RC001", fact, key="vocabulary.path") from error


def _read(path: str) -> Any:
    """Return the tokenizer of a file.

    Raises `InputError` (RC001), and (RC040) where the file is damaged, or of another kind.
    """
    from tokenizers import Tokenizer

    raw = _bytes(path)
    try:
        tokenizer = Tokenizer.from_str(raw.decode("utf-8-sig"))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # A panic of Rust, which some damage leads to, is no Exception.
        raise _misfit(path, f"is not a tokenizer.json: {error}") from error

    kept = json.loads(tokenizer.to_str())
    model = kept["model"]
    kind, pieces = model["type"], model.get("vocab", {})
    if kind != "BPE":
        raise _misfit(path, f"holds a tokenizer of the kind {kind}")
    to_bytes = _byte_level(kept["pre_tokenizer"]) or _byte_level(kept["normalizer"])
    marked = model.get("end_of_word_suffix") or model.get("continuing_subword_prefix")
    if not to_bytes or not _byte_level(kept["decoder"]) or marked:
        raise _misfit(path, "holds a BPE that is not of bytes")
    missing = sorted(set(of_bytes()) - pieces.keys())
    if missing:
        raise _misfit(path, f"has no piece for {len(missing)} of the 256 bytes")
    ids = sorted(tokenizer.get_vocab(with_added_tokens=True).values())
    if ids != list(range(len(ids))):
        raise _misfit(path, "leaves out ids between those of its pieces")
    for token in kept["added_tokens"]:
        content = token["content"]
        if content in pieces and piece_of(content) != content.encode():
            fact = f"has an added token {content!r}, which is how a piece of other bytes is written"
            raise _misfit(path, fact)

    # What cuts, fills up or drops at random is for training elsewhere.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.model.dropout = None
    return tokenizer


def _misfit(path: str, fact: str) -> InputError:
    return InputError.of(
        "RC040",
        f"{path} {fact}",
        key="vocabulary.path",
        allowed="a tokenizer.json of byte-level BPE, as those of GPT-2, Llama 3 and Qwen",
        cure="give such a file, or leave path out: pieces are then learned from the data",
    )


def _parts(table: Any) -> Iterator[dict[str, Any]]:
    """Give the tables of a decoder, or of what cuts or folds a text, one by one."""
    table = table or {}
    inside = [table.get(name) for name in ("decoders", "pretokenizers", "normalizers")]
    if not any(inside):
        yield table
    for part in chain(*filter(None, inside)):
        yield from _parts(part)


def _byte_level(table: Any) -> bool:
    return any(part.get("type") == "ByteLevel" for part in _parts(table))


def _only_cuts(pre_tokenizer: Any) -> bool:
    """Tell whether what cuts a text keeps each of its characters, and makes bytes of them once."""
    parts = [*_parts(pre_tokenizer)]
    kept = all(
        part.get("type") in CUTTING
        and part.get("behavior") != "Removed"
        and not part.get("add_prefix_space")
        for part in parts
    )
    return kept and sum(part["type"] == "ByteLevel" for part in parts) == 1
