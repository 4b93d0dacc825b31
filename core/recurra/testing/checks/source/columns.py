"""Checks of what a source says of each sequence, and of each element, beside the elements."""

from __future__ import annotations

from recurra.contracts.source import Role
from recurra.contracts.vocabulary import Element
from recurra.testing.answers import demand
from recurra.testing.check import NotApplicable, check
from recurra.testing.subjects.source import SourceSubject


@check("S10", "each sequence has its label", "source", firm=True, since="1.1")
def labelled(subject: SourceSubject) -> None:
    """Where `columns` names a `label`, each piece that starts a sequence has one: a text that is
    not blank.

    What `columns` says does not change by reading. It is asked before the data is read, to tell
    whether a task can ask for a label at all; whoever names none gives none. A label that is
    missing is an answer that cannot be learned, and `1` beside `"1"` would be two classes. To mend
    it: make text of each label, refuse a row without one by `InputError` (RC042), and name `label`
    in `columns` where the options ask for it.
    """
    source = subject.source()
    columns = dict(subject.columns(source))
    role: Role = "label"
    for element, pieces in subject.given():
        demand(element in columns["input"], f"columns does not name {element}, which it gives")
        subject.pieces(source, element)
        demand(dict(subject.columns(source)) == columns, "reading changes what columns says")

        # A piece without a start goes on with a sequence whose label is known.
        labels = [piece.columns.get(role) for piece in pieces if piece.start]
        if role in columns:
            wrong = [label for label in labels if not _is_label(label)]
            demand(not wrong, f"{element}: a sequence has the label {wrong[:1]}")
        else:
            named = [label for label in labels if label is not None]
            demand(not named, f"{element}: a sequence has a label, and columns names none")
    if role not in columns:
        raise NotApplicable("it gives no label")


def _is_label(label: object) -> bool:
    """Tell whether a label, or a tag, is a text that is not blank."""
    return isinstance(label, str) and bool(label.strip())


@check("S11", "each sequence has its answer", "source", firm=True, since="1.1")
def answered(subject: SourceSubject) -> None:
    """Where `columns` names an `answer`, each piece that starts a sequence has one, and no other.

    It is of the elements that are read: a text, or a list of tokens, and it may be empty, but not
    absent. It stands where the sequence begins, so that nobody must read a prompt to its end to
    know what follows it; whoever names none gives none. An answer that lacks is none of nothing,
    which a network would learn to give. To mend it: refuse a row without one by `InputError`
    (RC042), and give it with the first piece alone.
    """
    source = subject.source()
    role: Role = "answer"
    named = role in subject.columns(source)
    for element, pieces in subject.given():
        later = [piece for piece in pieces if not piece.start and role in piece.columns]
        demand(not later, f"{element}: an answer stands in the midst of its sequence")
        answers = [piece.columns.get(role) for piece in pieces if piece.start]
        if not named:
            given = [answer for answer in answers if answer is not None]
            demand(not given, f"{element}: a sequence has an answer, and columns names none")
            continue
        wrong = [answer for answer in answers if not _is_answer(answer, element)]
        demand(not wrong, f"{element}: a sequence has the answer {wrong[:1]!r:.60}")
    if not named:
        raise NotApplicable("it gives no answer")


def _is_answer(answer: object, element: Element) -> bool:
    """Tell whether an answer is of the elements that are read."""
    if element == "text":
        return isinstance(answer, str)
    return isinstance(answer, list) and all(isinstance(token, str) for token in answer)


@check("S12", "each element has its tag", "source", firm=True, since="1.1")
def tagged(subject: SourceSubject) -> None:
    """Where `columns` names `tags`, each piece has them: a list of as many texts as it has
    elements, of which none is blank.

    They stand beside the elements that they are of, in later pieces of a sequence as in the first:
    a tag too few moves all that follow it to other elements, and nothing shows it. Whoever names
    none gives none. To mend it: cut tags where values are cut, make text of each, and refuse a row
    with another number of them by `InputError` (RC042).
    """
    source = subject.source()
    role: Role = "tags"
    named = role in subject.columns(source)
    for element, pieces in subject.given():
        for index, piece in enumerate(pieces):
            tags, where = piece.columns.get(role), f"{element}, piece {index}"
            if not named:
                demand(tags is None, f"{where}: it has tags, and columns names none")
                continue
            listed = isinstance(tags, list)
            demand(listed, f"{where}: tags are {type(tags).__name__}, not a list")
            fact = f"{where}: {len(tags or ())} tags for {len(piece.values)} elements"
            demand(len(tags or ()) == len(piece.values), fact)
            wrong = [tag for tag in tags or () if not _is_label(tag)]
            demand(not wrong, f"{where}: an element has the tag {wrong[:1]!r:.60}")
    if not named:
        raise NotApplicable("it gives no tags")
