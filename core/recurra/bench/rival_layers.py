"""Row 13: one layer, forward and backward, beside the same in JAX under jit."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from recurra.bench.layers import chosen_paths, layer, training
from recurra.bench.records import Finding, Setting, Shape
from recurra.bench.rivals import Arrays, Own, Race, Side, agree, held, race, started, stored
from recurra.bench.tasks import scratch
from recurra.contracts.cell import Cell


class Form(NamedTuple):
    """How JAX runs a layer: the form, and how many steps of a scan stand side by side."""

    form: str
    unroll: int = 1

    def __str__(self) -> str:
        return f"jax {self.form}" + (f", unrolled {self.unroll}" if self.unroll > 1 else "")


PLAIN = Form("scan")
RECURRENT = [PLAIN, Form("scan", 8), Form("products"), Form("products", 4)]
LINEAR = [PLAIN, Form("scan", 8), Form("associative")]
FORMS = {
    "lstm": RECURRENT,
    "gru": RECURRENT,
    "peephole": RECURRENT,
    "mingru": LINEAR,
    "minlstm": LINEAR,
}
OURS = "recurra"


class Raced(NamedTuple):
    """A race, and the path that our layer ran on."""

    race: Race
    path: str


def against_jax(name: str, best: bool, shape: Shape, setting: Setting) -> Finding:
    """Measure a cell beside a `jax.lax.scan`, or beside the best of all forms."""
    key = ("layer", name, shape)
    raced = setting.rivals.once(key, lambda: _raced(name, shape, setting))
    others = [str(form) for form in (FORMS[name] if best else [PLAIN])]
    return raced.race.finding(OURS, others, path=raced.path)


def _raced(name: str, shape: Shape, setting: Setting) -> Raced:
    """Let a cell and all forms take turns, once each gives the same outputs and gradients."""
    threads = setting.rivals.threads
    with held(threads), started(setting.rivals, "jax", "jax_layer.py") as rival:
        cell = layer(name, shape)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(shape.window, generator=generator).requires_grad_()
        back = torch.randn(shape.window, generator=generator)
        arrays = {"x": x.detach().numpy(), "back": back.numpy()}
        for key, weight in cell.named_parameters():
            arrays[key] = weight.detach().numpy()

        sides: dict[str, Side] = {OURS: Own(training(cell, x, back))}
        ours = computed(cell, x, back)
        with scratch() as folder:
            file = stored(folder, arrays)
            for form in FORMS[name]:
                case: dict[str, Any] = {"cell": name, **form._asdict()}
                side = rival.side(str(form), case, file)
                agree(str(form), ours, side.answer())
                sides[str(form)] = side
        return Raced(race(sides, [rival], setting.pairs, threads), chosen_paths([cell]))


def computed(cell: Cell[Any], x: torch.Tensor, back: torch.Tensor) -> Arrays:
    """Return the outputs of a cell on `x` `[B, T, D]`, and all gradients."""
    outputs, _ = cell(x)
    named = dict(cell.named_parameters())
    gradients = torch.autograd.grad(outputs, [x, *named.values()], back)
    found = dict(zip(["x", *named], gradients, strict=True))
    return {"outputs": outputs.detach().numpy(), **{k: v.numpy() for k, v in found.items()}}
