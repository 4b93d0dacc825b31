"""The answer that follows a sequence: sequence to sequence, by one causal network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from recurra import Elements, Examples, InputError, Metric, Metrics, Role, Target
from recurra_targets.answers import AnswerNats, EditDistance, ExactMatch
from recurra_targets.completion_rules import completion_rules
from recurra_targets.options import CompletionOptions


class Completion(Target[CompletionOptions]):
    """A prompt is answered by symbols that follow it, up to a mark that ends the answer.

    The network reads prompt, mark, answer, and says at each step from the mark on what comes next
    (Sutskever et al. 2014, arXiv:1409.3215, with one network in the place of two). Trained on right
    answers, it is judged by those that it gives by itself.
    """

    asks: ClassVar[Role] = "answer"
    scope: ClassVar[Literal["step", "sequence", "answer"]] = "answer"
    reach: ClassVar[int] = 1

    def at_most(self, longest: int) -> int:
        """Return after how many symbols an answer is given up, by default twice the longest."""
        return self.options.longest or super().at_most(longest)

    def metrics(self, elements: Elements) -> Sequence[type[Metric]]:
        """Return how often an answer was right, its distance, and the cost of right ones.

        Raises `InputError` (RC030) for numbers, which are no answer here.
        """
        if elements != "symbols":
            fact = "answers that follow are made of symbols, and these are numbers"
            cure = 'read text or tokens; [target] kind = "value" answers with numbers'
            raise InputError.of("RC030", fact, key="target.kind", cure=cure)
        return ExactMatch, EditDistance, AnswerNats

    def judged(self, elements: Elements, rows: Sequence[Metrics], columns: int) -> str:
        """Return the share of answers that are right, which every rule has."""
        return "exact_match"

    def baselines(self, train: Examples, held: Examples) -> Mapping[str, Metrics]:
        """Return the most frequent answer, and that of the nearest prompt."""
        return completion_rules(train, held)
