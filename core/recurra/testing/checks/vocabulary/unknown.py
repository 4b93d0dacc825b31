"""What a vocabulary does with symbols that it has not learned."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from recurra.contracts.vocabulary import UnknownSymbol, Values, Vocabulary
from recurra.errors import PluginError
from recurra.testing.answers import demand
from recurra.testing.check import Broken, check
from recurra.testing.checks.vocabulary.encoding import same
from recurra.testing.hard_data import KNOWN, STRANGE, joined
from recurra.testing.subjects.vocabulary import VocabularySubject


@check("V05", "what is unknown follows the policy", "vocabulary", each=False)
def unknown(subject: VocabularySubject) -> None:
    """A symbol that was not there to learn from raises `UnknownSymbol`, has the one unknown id, or
    is left out.

    By the option `unknown`: "error" names the symbol and its place among the ids; "token" gives
    every such symbol the same id, which no other has; "skip" gives the ids of the rest. Without
    that option it encodes what it can, and raises `UnknownSymbol` for the rest. A symbol that
    quietly becomes another one is a fault that nobody sees. To mend it: let the options be
    `SymbolOptions`, and keep all three.
    """
    subject.writing()
    if "unknown" not in subject.entry.options.model_fields:
        _tolerated(subject, subject.vocabulary(KNOWN[subject.reads]))
        return
    strict, token, skip = (_under(subject, policy) for policy in ("error", "token", "skip"))
    sentence = _sentence(subject)
    # Where the symbol stands among the ids is known only if it has one.
    place = None
    if token is not None:
        place = _is_marked(subject, token, sentence)
    if skip is not None:
        before = subject.encoded(skip, sentence.before)
        after = subject.encoded(skip, sentence.after)
        ids = subject.encoded(skip, sentence.values)
        rest = same(ids, np.concatenate([before, after]))
        demand(rest, '"skip": the ids are not those of the rest')
    if strict is not None:
        _refused(strict, sentence.values, place)


class Sentence(NamedTuple):
    """What is known, something `strange`, and what is known again; `values` is all of it."""

    before: Values
    strange: Values
    after: Values
    values: Values


def _sentence(subject: VocabularySubject) -> Sentence:
    """Return what a vocabulary that was fitted on `KNOWN` knows in part."""
    strange, _ = STRANGE[subject.reads]
    before: Values = ["one", "two"]
    after: Values = ["one"]
    if subject.reads == "text":
        before, after = "one two\n", "\none\n"
    values = joined([before, strange, after], subject.reads)
    return Sentence(before, strange, after, values)


def _is_marked(subject: VocabularySubject, token: Vocabulary[Any], sentence: Sentence) -> int:
    """Return where among the ids the unknown one stands.

    Raises `Broken` unless each unknown symbol has one and the same id, and none else has it.
    """
    _, other = STRANGE[subject.reads]
    mark = subject.encoded(token, sentence.strange)
    alike = len(mark) > 0 and same(mark, subject.encoded(token, other))
    demand(alike, '"token": two unknown symbols have different ids')
    # What folds symbols may well take a known one for the unknown.
    if token.lossless:
        learned = subject.encoded(token, KNOWN[subject.reads])
        clash = np.isin(mark, learned).any()
        demand(not clash, '"token": a symbol that is known has the unknown id')

    before = subject.encoded(token, sentence.before)
    after = subject.encoded(token, sentence.after)
    expected = np.concatenate([before, mark, after])
    ids = subject.encoded(token, sentence.values)
    demand(same(ids, expected), '"token": an unknown symbol changes the ids of others')
    return int((expected == mark[0]).argmax())


def _under(subject: VocabularySubject, policy: str) -> Vocabulary[Any] | None:
    """Return a vocabulary under a policy, or none if its options do not know that one."""
    try:
        return subject.vocabulary(KNOWN[subject.reads], unknown=policy)
    except PluginError:
        return None


def _refused(vocabulary: Vocabulary[Any], values: Values, place: int | None) -> None:
    """Raise `Broken` unless values are refused by an error that names the symbol and its place."""
    try:
        vocabulary.encode(values)
    except UnknownSymbol as error:
        named = isinstance(error.symbol, str) and bool(error.symbol)
        demand(named, f"the unknown symbol is {error.symbol!r}")
        right = place is None or error.position == place
        fact = f"the unknown symbol stands at {place}, and is told to stand at {error.position}"
        demand(right, fact)
        return
    raise Broken('"error": an unknown symbol is encoded as if it were known')


def _tolerated(subject: VocabularySubject, vocabulary: Vocabulary[Any]) -> None:
    """Raise `Broken` if an unknown symbol quietly becomes another one."""
    for values in STRANGE[subject.reads]:
        try:
            ids = subject.encoded(vocabulary, values)
        except UnknownSymbol:
            continue
        back = vocabulary.decode(ids)
        fact = f"{values!r} is encoded as {back!r}"
        demand(same(back, values) or not vocabulary.lossless, fact)
