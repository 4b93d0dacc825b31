"""A kernel made of any straight-line step is that step: functions drawn at random, against the
steps one by one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from recurra import Cell, GatedCell, GatedOptions
from recurra.engine import eager, fused
from recurra.engine.fused.record import Unsupported
from recurra.engine.recurrence import map_state

BOUND = 1e-9
WIDTHS = (1, 3, 16, 17, 33)

UNARY = (
    "torch.tanh({a})", "torch.sigmoid({a})", "torch.relu({a})", "F.softplus({a})",
    "F.softplus({a}, beta=2, threshold=3)",
    "torch.sin({a})", "torch.cos({a})", "torch.exp(-torch.abs({a}))", "torch.log1p(torch.abs({a}))",
    "-{a}",
    "F.silu({a})", "F.gelu({a})", "F.leaky_relu({a}, 0.2)", "1 / (1 + {a} * {a})",
    "torch.sqrt(1 + {a} ** 2)",
    "{a}.clamp(-0.7, 0.9)", "0.5 * {a}", "1 - {a}", "{a}.abs()", "torch.expm1(torch.tanh({a}))",
    "F.logsigmoid({a})",
    "torch.log(0.5 + {a} * {a})", "torch.rsqrt(1 + {a}.square())", "F.hardtanh({a})",
    "F.hardsigmoid({a})",
    "torch.erf({a})", "{a}.detach() * 0.5", "torch.zeros_like({a}) + {a}",
    "torch.where({a} > 0.1, {a}, 0.25)",
    "{a}.clamp_min(-0.3)", "(1 + {a} * {a}) ** 1.5 * 0.1", "{a} ** 3 * 0.1",
    "torch.addcmul({a}, {a}, {a}, value=-0.1)",
    "{a}.masked_fill({a} > 0.8, 0.8)", "(({a} > 0) & ({a} < 1)) * {a}",
    "{a}.view({a}.shape[0], -1).contiguous()",
    "{a} * self.scalar", "({a} > 0).to({a}.dtype) * {a}", "{a}.unsqueeze(1).squeeze(1)",
    "{a}.neg_() * 1",
)  # fmt: skip
"""From a value of any width to one as wide."""
BINARY = (
    "{a} + {b}", "{a} - {b}", "{a} * {b}", "torch.maximum({a}, {b})", "torch.minimum({a}, {b})",
    "{a} / (1 + {b} ** 2)",
    "torch.where({a} > {b}, {a}, {b})",
    "torch.lerp({a} + 0 * {b}, {b} + 0 * {a}, torch.sigmoid({a} + {b}))",
    "torch.add({a}, {b}, alpha=-0.5)", "torch.addcmul({a}, {a}, {b})",
)  # fmt: skip
"""From two values, either as wide as the other or 1 wide."""
WIDE = (
    "{a} * self.vector", "{a} + self.row", "self.vector - {a}", "F.layer_norm({a}, (H,))",
    "torch.softmax({a}, -1)",
    "F.layer_norm({a}, (H,), self.vector, self.row[0])", "{a} @ self.second",
    "F.linear({a}, self.second, self.vector)",
    "torch.cat(({a}, {b}), -1).chunk(2, -1)[1] * {a}", "torch.stack(({a}, {b})).sum(0)",
    "torch.stack(({a}, {b})).flip(0)[0] * {a}", "torch.cat(({a}, {b}), -1)[:, 1 : H + 1]",
    "torch.cat(({b}, {a}), 1).view({a}.shape[0], 2, H).mean(1)",
    "torch.stack(({a}, {b}), 1)[:, 1] * {a}",
    "torch.cat(({a}[:, :1], {b}[:, 1:]), -1)",
    "{a} / {a}.norm(dim=-1, keepdim=True).clamp(min=0.5)",
    "torch.stack(({a}, {b}), 1).unbind(1)[0] + torch.stack(({a}, {b})).amax(0)",
    "torch.cat(({a}, {b}), -1) @ self.pair",
    "{a} * self.mask", "{a} - {a}.logsumexp(-1, keepdim=True) * 0.1",
    "torch.where(self.vector > 0, {a}, {b})",
    "{a}.unflatten(-1, (self.heads, -1)).flatten(1)",
    "torch.baddbmm(self.bias_of_pair, {a}.unsqueeze(0), self.second[None])[0]",
    "torch.einsum('bi,ij->bj', {a}, self.second)",
    "{a}.view({a}.shape[0], self.heads, -1).mean(2).repeat_interleave(H // self.heads, 1)",
)  # fmt: skip
"""From two values of H to one of H."""
NARROW = (
    "{a}.sum(-1, keepdim=True) / H", "{a}.mean(-1, keepdim=True)", "{a}.amax(-1, keepdim=True)",
    "{a}[:, :1]",
    "({a} * {b}).sum(1, keepdim=True) / H", "F.linear({a}, self.vector[None])",
)  # fmt: skip
"""From two values of H to one of 1."""
REFUSED = ("repeat_interleave", "norm(dim", "logsumexp", "baddbmm", "einsum")
"""Of these a kernel need not know all."""


class DrawnOptions(GatedOptions):
    """`code` is what `update` does, `result` the state and `shown` the output that come of it."""

    code: str
    result: str
    shown: str
    heads: int = 1
    gates: int = 2
    recurrent: int = 2
    third: int = 1


class Three(NamedTuple):
    """h and c are [B, H]; n is [B, third], or [B] where third is 0."""

    h: Tensor
    c: Tensor
    n: Tensor


def own_weights(cell: Any, width: int) -> None:
    """Give a cell what the drawn functions read beside its maps."""
    cell.vector = nn.Parameter(torch.rand(width) + 0.2)
    cell.row = nn.Parameter(torch.rand(1, width))
    cell.scalar = nn.Parameter(torch.tensor(0.7))
    cell.second = nn.Parameter(torch.randn(width, width) / (2 * width**0.5))
    cell.pair = nn.Parameter(torch.randn(2 * width, width) / (2 * width**0.5))
    cell.readout = nn.Parameter(torch.randn(cell.output_size, width) / width**0.5)
    cell.bias_of_pair = nn.Parameter(torch.randn(1, 1, width))
    cell.register_buffer("mask", (torch.arange(width) % 3 != 1).to(torch.get_default_dtype()))


def start(options: DrawnOptions, batch: int, device: torch.device, dtype: torch.dtype) -> Three:
    wide = (batch, options.hidden_size)
    narrow = (batch, options.third) if options.third else (batch,)
    return Three(
        *(torch.zeros(shape, device=device, dtype=dtype) for shape in (wide, wide, narrow))
    )


class Gated(GatedCell[DrawnOptions]):
    """A gated cell whose update was drawn."""

    State = Three

    def __init__(self, input_size: int, options: DrawnOptions) -> None:
        super().__init__(
            input_size,
            options,
            heads=options.heads,
            gates=options.gates,
            recurrent_gates=options.recurrent,
            biases=2,
        )
        own_weights(self, self.hidden_size)

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Three:
        return start(self.options, batch_size, device, dtype)

    def update(self, x: Tensor, h: Tensor, state: Three) -> Three:
        names = {
            "x": x,
            "h": h,
            "state": state,
            "self": self,
            "torch": torch,
            "F": functional,
            "H": self.hidden_size,
        }
        exec(self.options.code, names)
        return Three(*eval(self.options.result, names))

    def output(self, state: Three) -> Tensor:
        names = {"state": state, "self": self, "torch": torch, "F": functional}
        return eval(self.options.shown, names)


class Plain(Cell[DrawnOptions]):
    """A cell whose whole step was drawn; its maps read the input and the state side by side."""

    heads = 1

    def __init__(self, input_size: int, options: DrawnOptions) -> None:
        super().__init__(input_size, options)
        width = self.hidden_size
        self.output_size = 5 if "readout" in options.shown else width
        own_weights(self, width)
        self.both = nn.Parameter(
            torch.randn(input_size + width, 2 * width) / (input_size + width) ** 0.5
        )
        self.of_input = nn.Linear(input_size, width)

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Three:
        return start(self.options, batch_size, device, dtype)

    def step(self, x_t: Tensor, state: Three) -> tuple[Tensor, Three]:
        names = {
            "x": x_t,
            "old": state,
            "self": self,
            "torch": torch,
            "F": functional,
            "H": self.hidden_size,
        }
        names |= {"state": state}
        exec(self.options.code, names)
        names["state"] = Three(*eval(self.options.result, names))
        return eval(self.options.shown, names), names["state"]


@st.composite
def drawn(draw: Any, plain: bool) -> tuple[DrawnOptions, str]:
    """Draw the options of a cell."""
    width = draw(st.sampled_from(WIDTHS))
    third = draw(st.sampled_from((1, 0, width, 2 * width)))
    heads = draw(st.sampled_from([n for n in (1, 2, 3, 4) if width % n == 0]))
    gates, recurrent = draw(st.integers(1, 3)), draw(st.integers(0, 3))
    if plain:
        wide = ["m.chunk(2, -1)[0]", "m[:, H:]", "self.of_input(x)", "state.h", "state.c"]
        lines = ["m = torch.cat((x, state.h), -1) @ self.both"]
        narrow = ["x[:, :1]", "x.mean(-1, keepdim=True)"]
        heads = 1
    else:
        wide = (
            [f"x[{i}]" for i in range(gates)]
            + [f"h[{i}]" for i in range(recurrent)]
            + ["state.h", "state.c"]
        )
        lines = draw(
            st.sampled_from(([], ["x = x.flip(0)"], ["h = h.flip(0)"] if recurrent else []))
        )[:]
        narrow = ["self.scalar"]
    narrow.append({0: "state.n.unsqueeze(-1)", 1: "state.n"}.get(third, "state.n[:, -1:]"))
    if third == 2 * width:
        wide += ["state.n.chunk(2, -1)[0]", "state.n[:, H:]"]
    for index in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(("unary", "binary", "wide", "wide", "mixed", "narrow")))
        a, b = draw(st.sampled_from(wide)), draw(st.sampled_from(wide))
        if kind == "narrow":
            text = draw(st.sampled_from(NARROW)).format(a=a, b=b)
            narrow.append(f"n{index}")
            lines.append(f"n{index} = {text}")
            continue
        b = draw(st.sampled_from(narrow)) if kind == "mixed" else b
        table = {"unary": UNARY, "wide": WIDE}.get(kind, BINARY)
        text = draw(st.sampled_from(table))
        a = f"({a} * 1)" if "_()" in text else a
        lines.append(f"w{index} = {text.format(a=f'({a})', b=f'({b})')}")
        wide.append(f"w{index}")
    bounded = st.sampled_from(
        ("torch.tanh({v})", "torch.sigmoid({v})", "({v}).clamp(-1, 1)", "0.5 * torch.sin({v})")
    )
    late = wide[-3:] + wide[:2]
    fields = []
    for place in range(2):
        value = draw(st.sampled_from(late))
        if draw(st.booleans()):
            value = f"0.5 * state.{'hc'[place]} + {value}"
        fields.append(draw(bounded).format(v=value))
    of_n = f"torch.cat(({late[0]}, {late[1]}), -1)" if third == 2 * width else late[0]
    of_n = (
        f"({narrow[-1]}) + state.n[..., None] * 0.3"
        if third == 0
        else narrow[-1]
        if third == 1
        else of_n
    )
    of_n = f"torch.tanh(({of_n}) + 0 * state.h[:, :1])"  # a scalar alone has no batch
    fields.append(f"{of_n}.squeeze(-1)" if third == 0 else of_n)
    shown = draw(
        st.sampled_from(
            (
                "state.h", "state.h", "torch.tanh(state.c) * state.h", "state.h @ self.readout.t()",
                "F.linear(torch.relu(state.c), self.readout) * 0.5",
                "F.layer_norm(state.h, state.h.shape[1:])",
                "state.c + state.n.reshape(state.h.shape[0], -1)[:, :1]",
            )
        )
    )  # fmt: skip
    options = DrawnOptions(
        hidden_size=width, code="\n".join(lines), result=f"({', '.join(fields)})", shown=shown,
        heads=heads,
        gates=gates, recurrent=recurrent, third=third,
    )  # fmt: skip
    return options, "plain" if plain else "gated"


def build(options: DrawnOptions, kind: str, inputs: int, seed: int) -> Any:
    torch.manual_seed(seed)
    return (Plain if kind == "plain" else Gated)(inputs, options).double()


def everything(
    cell: Any, runner: Any, x: Tensor, state: Any, reset: Any, lengths: Any
) -> dict[str, Tensor]:
    """Return outputs, the state after the window and every gradient of a path, by name."""
    x = x.clone().requires_grad_()
    state = map_state(lambda field: field.clone().requires_grad_(), state)
    y, final = runner(cell, x, state, reset, lengths)
    total = sum((value * torch.cos(value + 0.3)).sum() for value in (y, *final))
    named = {
        "x": x,
        **{f"start {i}": field for i, field in enumerate(state)},
        **dict(cell.named_parameters()),
    }
    grads = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    found = {"y": y} | {f"final {i}": field for i, field in enumerate(final)}
    for (name, value), grad in zip(named.items(), grads, strict=True):
        found[f"gradient of {name}"] = torch.zeros_like(value) if grad is None else grad
    return {name: value.detach() for name, value in found.items()}


def check(
    options: DrawnOptions,
    kind: str,
    size: tuple[int, int, int],
    flags: tuple[bool, bool],
    seed: int,
) -> None:
    """Require that a kernel gives what the steps one by one give."""
    batch, steps, inputs = size
    cell = build(options, kind, inputs, seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, steps, inputs, generator=generator, dtype=torch.float64)
    zero = cell.initial_state(batch, device=x.device, dtype=x.dtype)
    state = map_state(
        lambda field: torch.randn(field.shape, generator=generator, dtype=field.dtype) / 2, zero
    )
    reset = torch.rand(batch, steps, generator=generator) < 0.3 if flags[0] else None
    lengths = torch.randint(0, steps + 1, (batch,), generator=generator) if flags[1] else None
    if reset is not None and lengths is not None:
        reset &= torch.arange(steps) < lengths[:, None]
    want = everything(cell, eager.run, x, state, reset, lengths)
    try:
        have = everything(cell, fused.run, x, state, reset, lengths)
    except Unsupported as error:
        assert any(part in options.code for part in REFUSED), f"{error}\n{options}"
        return
    for name, value in want.items():
        assert have[name].shape == value.shape, f"{name} of {options}"
        gap = (
            (have[name] - value).abs().max().item() / max(1.0, value.abs().max().item())
            if value.numel()
            else 0.0
        )
        assert gap <= BOUND, (
            f"{name} differs by {gap:.1e}\n{options.code}\n{options.result}\n{options!r}"
        )


laws = settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
many = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
sizes = st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 4))
flags = st.tuples(st.booleans(), st.booleans())


@laws
@given(cell=drawn(plain=False), size=sizes, flags=flags, seed=st.integers(0, 9999))
def test_a_kernel_of_a_drawn_update_equals_its_steps(cell, size, flags, seed):
    check(*cell, size, flags, seed)


@laws
@given(cell=drawn(plain=True), size=sizes, flags=flags, seed=st.integers(0, 9999))
def test_a_kernel_of_a_drawn_step_equals_it(cell, size, flags, seed):
    check(*cell, size, flags, seed)


@pytest.mark.slow
@many
@given(cell=drawn(plain=False), size=sizes, flags=flags, seed=st.integers(0, 9999))
def test_a_kernel_of_many_drawn_updates_equals_their_steps(cell, size, flags, seed):
    check(*cell, size, flags, seed)


@pytest.mark.slow
@many
@given(cell=drawn(plain=True), size=sizes, flags=flags, seed=st.integers(0, 9999))
def test_a_kernel_of_many_drawn_steps_equals_them(cell, size, flags, seed):
    check(*cell, size, flags, seed)
