"""What the checks are given: a small component of each kind, always drawn the same.

It stands under one set of options.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from recurra.testing.subjects.cell import CellSubject
from recurra.testing.subjects.encoder import EncoderSubject
from recurra.testing.subjects.loss import LossSubject
from recurra.testing.subjects.source import SourceSubject
from recurra.testing.subjects.subject import Subject
from recurra.testing.subjects.target import TargetSubject
from recurra.testing.subjects.tracker import TrackerSubject
from recurra.testing.subjects.vocabulary import VocabularySubject

SUBJECTS: Mapping[str, type[Subject[Any]]] = MappingProxyType(
    {
        "cell": CellSubject,
        "encoder": EncoderSubject,
        "vocabulary": VocabularySubject,
        "loss": LossSubject,
        "source": SourceSubject,
        "target": TargetSubject,
        "tracker": TrackerSubject,
    }
)
"""What a check of each kind is given."""
