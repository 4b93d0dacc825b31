"""Checks of what a source says of each sequence beside its elements."""

from __future__ import annotations

from recurra.contracts.source import Role
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
    """Tell whether a label is a text that is not blank."""
    return isinstance(label, str) and bool(label.strip())
