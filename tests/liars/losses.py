"""Wrong losses, and right ones that they are made of."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from liars import Liar
from recurra import Component, Distribution, Loss, Options


class Plain(Options):
    """Options of every loss here: none."""


class Right(Loss[Plain]):
    """The squared error of each step, mean over its features."""

    reads = ("numbers",)

    def forward(self, output, target):
        return (output - target).square().mean(dim=-1)


class RightSymbols(Loss[Plain]):
    """-log p(target)."""

    def forward(self, output, target):
        return -torch.log_softmax(output, dim=-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)


class RightDistribution(Right):
    """-log of a normal distribution whose mean and scale the network gives."""

    def __init__(self, size, options):
        super().__init__(size, options)
        self.output_size = 2 * size

    def forward(self, output, target):
        mean, wide = output.chunk(2, dim=-1)
        scale = functional.softplus(wide) + 0.1
        return (((target - mean) / scale).square() / 2 + scale.log()).mean(dim=-1)

    def point(self, output):
        return output[..., : self.size]


class RightElements(RightDistribution):
    """The same, of each element by itself."""

    def forward(self, output, target):
        return self.elementwise(output, target).mean(dim=-1)

    def elementwise(self, output, target):
        mean, wide = output.chunk(2, dim=-1)
        scale = functional.softplus(wide) + 0.1
        return ((target - mean) / scale).square() / 2 + scale.log()


class AddsElements(RightElements):
    """Weighs a step by how many features it has."""

    def forward(self, output, target):
        return self.elementwise(output, target).sum(dim=-1)


class SharesAScale(RightElements):
    """Takes one scale for all columns."""

    def elementwise(self, output, target):
        mean, wide = output.chunk(2, dim=-1)
        scale = functional.softplus(wide.mean(dim=-1, keepdim=True)) + 0.1
        return ((target - mean) / scale).square() / 2 + scale.log()


class CentresTheTarget(Right):
    """Takes off what the columns of an answer have in common."""

    def forward(self, output, target):
        return self.elementwise(output, target).mean(dim=-1)

    def elementwise(self, output, target):
        error = output - target
        return error.square() + 0.1 * (error - error.mean(dim=-1, keepdim=True)).square()


class HasNoSlopeAtItsBest(Right):
    """The root of the squared error, whose slope at 0 is no number."""

    def forward(self, output, target):
        return self.elementwise(output, target).mean(dim=-1)

    def elementwise(self, output, target):
        return (output - target).square().sqrt()


class RightSpread(Distribution[Plain]):
    """-log of a logistic distribution, all of whose parts are of one mould."""

    def __init__(self, size, options):
        super().__init__(size, options)
        self.output_size = 2 * size

    def parts(self, output):
        centre, wide = output.chunk(2, dim=-1)
        return centre, functional.softplus(wide) + 0.1

    def log_prob(self, output, target, scale=None):
        centre, wide = self.parts(output)
        z = (target - centre) / wide
        return -z - 2 * functional.softplus(-z) - wide.log()

    def cdf(self, output, target, scale=None):
        centre, wide = self.parts(output.double())
        return torch.sigmoid((target.double() - centre) / wide)

    def icdf(self, output, chance, scale=None):
        centre, wide = self.parts(output.double())
        return centre + wide * torch.logit(chance.double())

    def point(self, output):
        return self.parts(output)[0]


class RightCounts(Distribution[Plain]):
    """-log of a geometric distribution of counts from 0 on, of the mean exp(x)."""

    counts = True

    def mean(self, output, scale):
        return output.clamp(-30, 30).exp() * (1 if scale is None else scale)

    def counted(self, target, scale):
        return target if scale is None else (target * scale).round()

    def log_prob(self, output, target, scale=None):
        mean, count = self.mean(output, scale), self.counted(target, scale)
        return -count * torch.log1p(1 / mean) - torch.log1p(mean)

    def cdf(self, output, target, scale=None):
        again = -torch.log1p(1 / self.mean(output.double(), scale))
        return -torch.expm1(again * (self.counted(target.double(), scale) + 1))

    def icdf(self, output, chance, scale=None):
        again = -torch.log1p(1 / self.mean(output.double(), scale))
        count = torch.log1p(-chance.double()) / again - 1
        count = (count - 1e-9).ceil().clamp(min=0)
        return count if scale is None else count / scale

    def point(self, output):
        return output.clamp(-30, 30).exp()


class KnowsNoScale(RightCounts):
    """Takes a scaled number for a count."""

    def log_prob(self, output, target, scale=None):
        return super().log_prob(output, target, None)


class CrossesItsQuantiles(RightSpread):
    """Says the upper half of its quantiles the wrong way round."""

    def icdf(self, output, chance, scale=None):
        return super().icdf(output, torch.where(chance > 0.7, 1.5 - chance, chance))


class TrainsForAnother(RightSpread):
    """Is trained for a density that is a tenth as wide as its chances are."""

    def log_prob(self, output, target, scale=None):
        centre, wide = self.parts(output)
        z = (target - centre) / (0.1 * wide)
        return -z - 2 * functional.softplus(-z) - (0.1 * wide).log()


class CostsOtherwise(RightSpread):
    """Is trained for the absolute error, and says that it has a density."""

    def elementwise(self, output, target, scale=None):
        return (self.point(output) - target).abs() + self.parts(output)[1]


class DrawsForItself(RightSpread):
    """Draws by numbers of torch's own."""

    def sample(self, output, uniforms, scale=None):
        return self.icdf(output, torch.rand_like(uniforms))


class DrawsInCompany(RightSpread):
    """Moves its draws so that their mean is right."""

    def sample(self, output, uniforms, scale=None):
        drawn = super().sample(output, uniforms)
        return drawn - drawn.mean(dim=0) + self.point(output).double()


class DrawsTooNarrowly(RightSpread):
    """Draws from the inner half alone."""

    def sample(self, output, uniforms, scale=None):
        return super().sample(output, 0.25 + uniforms / 2)


class DrawsAtTheEnds(RightSpread):
    """Takes the numbers as chances, of which 0 is one."""

    def sample(self, output, uniforms, scale=None):
        return self.icdf(output, uniforms)


class RightLearned(RightSymbols):
    """-log p(target), more where the target is rare in training."""

    def __init__(self, size, options):
        super().__init__(size, options)
        self.rare = [1.0] * size

    def prepare(self, names, counts):
        self.rare = (1 / (1 + counts)).tolist()

    def save(self):
        return {"rare": self.rare}

    def restore(self, saved):
        self.rare = saved["rare"]

    def forward(self, output, target):
        return super().forward(output, target) * output.new_tensor(self.rare)[target]


class RightInParts(RightSymbols):
    """-log p(target), of outputs that are never held all at once."""

    takes_hidden = True


class HoldsAllOutputs(RightInParts):
    """Makes the outputs as a whole."""

    def through(self, hidden, head, target, rows):
        return self(head(hidden), target)


class ForgetsTheBias(RightInParts):
    """Makes the outputs with the weight alone."""

    def through(self, hidden, head, target, rows):
        bias = head.bias * 0
        return super().through(hidden, head._replace(bias=bias), target, rows)


class MeansItsParts(RightInParts):
    """Gives each step the mean of those that are held with it."""

    def through(self, hidden, head, target, rows):
        losses = super().through(hidden, head, target, rows)
        return torch.cat([part.mean().expand(len(part)) for part in losses.split(rows)])


class LearnsInSecret(RightLearned):
    """Saves nothing of what it learned."""

    def save(self):
        return {}

    def restore(self, saved):
        pass


class LearnsOnAndOn(RightLearned):
    """Keeps a class as rare as it ever was."""

    def restore(self, saved):
        self.rare = [max(pair) for pair in zip(self.rare, saved["rare"], strict=True)]


class SavesItsTensor(RightLearned):
    """Saves what no JSON holds."""

    def save(self):
        return {"rare": torch.tensor(self.rare)}


class KeysByIds(RightLearned):
    """Saves a table whose keys are ids, which come back as text."""

    def save(self):
        return dict(enumerate(self.rare))

    def restore(self, saved):
        self.rare = [saved.get(index, 1.0) for index in range(self.size)]


class CountsOnTheCounts(RightLearned):
    """Adds 1 to the counts themselves, which the core goes on with."""

    def prepare(self, names, counts):
        counts += 1
        self.rare = (1 / counts).tolist()


class KeepsAnAxis(Right):
    """Gives [N, 1]."""

    def forward(self, output, target):
        return super().forward(output, target).unsqueeze(-1)


class SqueezesASingleStep(Right):
    """Gives a number without an axis where there is one step."""

    def forward(self, output, target):
        return super().forward(output, target).squeeze()


class AddsTheMean(Right):
    """Adds a share of what the other steps lose."""

    def forward(self, output, target):
        own = super().forward(output, target)
        return own + 0.1 * own.mean()


class MasksByProduct(Right):
    """Multiplies the other steps by 0, which a nan survives."""

    def forward(self, output, target):
        own = super().forward(output, target)
        return own + 0 * own.sum()


class DetachesItsWeight(Right):
    """The squared error as the error times itself, detached: half the gradient."""

    def forward(self, output, target):
        error = (output - target).abs()
        return (error.detach() * error).mean(dim=-1)


class CutsTheWrongAxis(RightDistribution):
    """Takes the first numbers of the second axis for the mean."""

    def point(self, output):
        return output[:, : self.size]


class PointsElsewhere(Right):
    """Declares twice the prediction to be the best guess."""

    def point(self, output):
        return 2 * output


class WrongSign(Right):
    """Is least where the prediction is worst."""

    def forward(self, output, target):
        return -super().forward(output, target)


class TakesTheLogOfSoftmax(RightSymbols):
    """-log(softmax(x)), infinite where a probability rounds to 0."""

    def forward(self, output, target):
        return -torch.softmax(output, dim=-1).log().gather(-1, target.unsqueeze(-1)).squeeze(-1)


class LearnsAScale(Right):
    """Has a parameter, which nobody trains."""

    def __init__(self, size, options):
        super().__init__(size, options)
        self.scale = nn.Parameter(torch.ones(size))

    def forward(self, output, target):
        return super().forward(output * self.scale, target * self.scale)


class DrawsInEvaluation(Right):
    """Draws noise in evaluation too, and multiplies it by 0."""

    def forward(self, output, target):
        return super().forward(output + torch.randn_like(output) * 0, target)


class StaysOnTheCpu(Right):
    """Weighs the features by a constant that is made on the CPU."""

    def forward(self, output, target):
        return super().forward(output, target) + 0 * torch.arange(
            float(len(output)), dtype=output.dtype
        )


class SubtractsInPlace(Right):
    """Turns the outputs into errors, before `point` is asked about them."""

    def forward(self, output, target):
        return output.sub_(target).square().mean(dim=-1)


class ViewsOutputs(Right):
    """Takes outputs to lie one after the other."""

    def forward(self, output, target):
        return (
            (output.view(-1) - target.view(-1)).square().view(len(output), self.size).mean(dim=-1)
        )


class CountsItsCalls(Right):
    """Keeps a count, as one that warms up does."""

    calls = 0

    def forward(self, output, target):
        self.calls += 1
        return super().forward(output, target)


class MeasuresOtherwise(Right):
    """Is the absolute error where no gradients are wanted.

    What is reported is not what is trained.
    """

    def forward(self, output, target):
        if torch.is_grad_enabled():
            return super().forward(output, target)
        return (output - target).abs().mean(dim=-1)


class HasAConstantOfTheDefaultType(Right):
    """Weighs by 0.3 as the default type has it."""

    def forward(self, output, target):
        return super().forward(output, target) * torch.tensor(0.3).to(output)


class FillsOneBuffer(Right):
    """Writes its best guesses into one tensor."""

    buffer = torch.zeros(0)

    def point(self, output):
        if self.buffer.shape != output.shape or self.buffer.dtype != output.dtype:
            self.buffer = torch.empty_like(output, requires_grad=False)
        return self.buffer.copy_(output.detach()) if output.device.type == "cpu" else output


class CountsInAnArray(Right):
    """Counts its calls in an array of numpy's."""

    def __init__(self, size, options):
        super().__init__(size, options)
        self.count = np.zeros(1)

    def forward(self, output, target):
        self.count += 1
        return super().forward(output, target)


class KeepsAllOutputs(Right):
    """Keeps what it has seen in a list of its module."""

    def forward(self, output, target):
        SEEN.append(output.detach())
        return super().forward(output, target)


class AsksForThreads(Right):
    """Weighs a step by the threads that there are."""

    def forward(self, output, target):
        return super().forward(output, target) * torch.get_num_threads()


class SharesOutManySteps(Right):
    """Divides by the mean where there are many steps."""

    def forward(self, output, target):
        losses = super().forward(output, target)
        return losses / losses.detach().mean() if len(losses) > 1000 else losses


class PointsWithThreads(Right):
    """Takes threads for its best guess in training."""

    def point(self, output):
        if self.training:
            torch.set_num_threads(3)
        return super().point(output)


SEEN = []


class WritesADiary(Right):
    """Writes down what it loses, into whatever folder is the current one."""

    def forward(self, output, target):
        with open("losses.txt", "a", encoding="utf-8") as file:
            file.write("another\n")
        return super().forward(output, target)


class ForbidsGradients(Right):
    """Turns gradients off for its best guess, and not on again."""

    def point(self, output):
        torch.set_grad_enabled(False)
        return super().point(output)


def component(name: str) -> Component:
    """Return a loss of this module as a plugin would describe it."""
    lower = "".join(f"_{mark.lower()}" if mark.isupper() else mark for mark in name).strip("_")
    return Component(
        "loss", lower, f"liars.losses:{name}", "liars.losses:Plain", "a loss of the tests"
    )


RIGHT = [
    component(name)
    for name in (
        "Right",
        "RightSymbols",
        "RightDistribution",
        "RightElements",
        "RightLearned",
        "RightInParts",
        "RightSpread",
        "RightCounts",
    )
]

LIARS = [
    Liar("L01", component("KeepsAnAxis")),
    Liar("L01", component("SqueezesASingleStep")),
    Liar("L02", component("AddsTheMean")),
    Liar("L02", component("MasksByProduct")),
    Liar("L03", component("DetachesItsWeight")),
    Liar("L04", component("CutsTheWrongAxis")),
    Liar("L05", component("PointsElsewhere")),
    Liar("L05", component("WrongSign")),
    Liar("L06", component("TakesTheLogOfSoftmax")),
    Liar("L07", component("LearnsAScale")),
    Liar("L07", component("DrawsInEvaluation"), frozenset({"P09"})),
    Liar("L08", component("StaysOnTheCpu")),
    Liar("L09", component("SubtractsInPlace")),
    Liar("L09", component("ViewsOutputs")),
    Liar("L10", component("CountsItsCalls")),
    Liar("L10", component("MeasuresOtherwise"), frozenset({"L03"})),
    Liar("L10", component("HasAConstantOfTheDefaultType")),
    Liar("L10", component("FillsOneBuffer"), frozenset({"L04"})),
    Liar("L02", component("SharesOutManySteps")),
    Liar("L10", component("CountsInAnArray")),
    Liar("L10", component("KeepsAllOutputs")),
    Liar("L10", component("AsksForThreads")),
    Liar("L11", component("LearnsInSecret")),
    Liar("L11", component("LearnsOnAndOn")),
    Liar("L11", component("SavesItsTensor"), frozenset({"P09"})),
    Liar("L11", component("KeysByIds")),
    Liar("L11", component("CountsOnTheCounts")),
    Liar("L12", component("HoldsAllOutputs")),
    Liar("L12", component("ForgetsTheBias")),
    Liar("L12", component("MeansItsParts")),
    Liar("L13", component("AddsElements")),
    Liar("L13", component("SharesAScale")),
    Liar("L13", component("CentresTheTarget")),
    Liar("L13", component("HasNoSlopeAtItsBest")),
    Liar("L14", component("KnowsNoScale")),
    Liar("L14", component("CrossesItsQuantiles"), frozenset({"L15"})),
    Liar("L14", component("TrainsForAnother")),
    Liar("L14", component("CostsOtherwise")),
    Liar("L15", component("DrawsForItself")),
    Liar("L15", component("DrawsInCompany")),
    Liar("L15", component("DrawsTooNarrowly")),
    Liar("L15", component("DrawsAtTheEnds")),
    Liar("P09", component("PointsWithThreads")),
    Liar("P09", component("WritesADiary")),
    Liar("P09", component("ForbidsGradients")),
]
