"""One class a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from recurra import Accuracy, Elements, Examples, Metric, Metrics, Role, Target
from recurra_targets.measured import Confusion, Nats
from recurra_targets.options import TagsOptions
from recurra_targets.spans import SCHEMES
from recurra_targets.tag_rules import tag_rules


class Tags(Target[TagsOptions]):
    """Each step is answered by its tag, one of those that training shows."""

    asks: ClassVar[Role] = "tags"

    @property
    def causal(self) -> bool:
        """Whether a step may see only what came before it."""
        return self.options.causal

    def metrics(self, elements: Elements) -> Sequence[type[Metric]]:
        """Return how often the tag was right, of all and by class, its chance, and the spans."""
        spans = SCHEMES[self.options.scheme]
        return Accuracy, Confusion, Nats, *spans

    def judged(self, elements: Elements, rows: Sequence[Metrics], columns: int) -> str:
        """Return accuracy, which every rule has."""
        return "accuracy"

    def baselines(self, train: Examples, held: Examples) -> Mapping[str, Metrics]:
        """Return majority; of symbols majority a symbol and n-gram windows, of numbers ridge."""
        return tag_rules(train, held)
