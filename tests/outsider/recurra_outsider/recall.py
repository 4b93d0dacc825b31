"""The label of a sequence is asked for in its midst, and only there: what came before must be
remembered until then.
"""

import numpy as np

from recurra import Figure, InputError, Metric, Target
from recurra_outsider.options import RecallOptions


class ReciprocalRank(Metric):
    """The mean of 1 / r, where what came is the r-th likeliest of all classes (Voorhees 1999,
    TREC-8).
    """

    answers, total = 0, 0.0

    @staticmethod
    def figures(vocabulary):
        """Return one figure."""
        return (Figure("mean_reciprocal_rank", higher=True, most=1.0),)

    def add(self, output, target):
        """Add logits `[N, C]` and ids `[N]`."""
        likelier = output > output.gather(1, target[:, None])
        self.answers += len(target)
        self.total += float((1 / (1 + likelier.sum(dim=1)).double()).sum())

    def values(self):
        """Return the mean."""
        return {"mean_reciprocal_rank": self.total / self.answers}


class Recall(Target[RecallOptions]):
    """Each step that holds the mark is answered by the label of its sequence, and no other step is
    asked.
    """

    asks = "label"

    def prepare(self, names):
        """Look up the id of the mark."""
        if self.options.mark not in names:
            fact = "no symbol of the data is the mark, so nothing would be asked"
            raise InputError.of("RC041", fact, key="target.mark", got=repr(self.options.mark))
        self.mark = names.index(self.options.mark)

    def scored(self, window):
        """Return the steps that hold the mark."""
        return window.x == self.mark

    def metrics(self, elements):
        """Return the rank of what came."""
        return (ReciprocalRank,)

    def judged(self, elements, rows, columns):
        """Return the one figure."""
        return "mean_reciprocal_rank"

    def baselines(self, train, held):
        """Return the rank by how often each label came in training."""
        came = self._asked(held)
        frequent = np.argsort(
            -np.bincount(self._asked(train), minlength=held.classes), kind="stable"
        )
        rank = 1 + np.argsort(frequent)
        return (
            {"most frequent": {"mean_reciprocal_rank": float((1 / rank[came]).mean())}}
            if len(came)
            else {}
        )

    def _asked(self, part):
        """Return the label at each mark, where training has shown it."""
        marks = [np.count_nonzero(sequence == self.mark) for sequence in part.sequences()]
        labels = np.repeat(part.answers, marks)
        return labels[labels >= 0]
