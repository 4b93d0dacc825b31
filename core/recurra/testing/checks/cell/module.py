"""A cell as a module of torch: its random numbers and its size; saved, copied, moved, cast."""

from __future__ import annotations

import copy
import pickle
import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recurra.contracts.cell import Cell
from recurra.engine import proof
from recurra.engine.recurrence import State
from recurra.randomness import seeded
from recurra.testing import child
from recurra.testing.calls import called
from recurra.testing.check import Broken, Measured, check
from recurra.testing.measure import BFLOAT16, EXACT, float32, gap, gaps, worst
from recurra.testing.option_sets import validated
from recurra.testing.subjects.cell import WIDTH, CellSubject
from recurra.testing.subjects.subject import SEED

SINGLE = torch.float32
STEPS = 17


@check("C19", "one seed, one result", "cell", firm=True)
def seeds_decide(subject: CellSubject) -> Measured:
    """The same seed gives the same weights to the bit, and the same outputs in training; evaluation
    draws nothing.

    Built twice from one seed, the weights are equal. Run twice, the outputs are: in training from
    the same seed, in evaluation always, and there no generator of torch, numpy or Python moves. A
    cell that seeds a generator itself makes every run alike; one that draws from numpy's, or keeps
    a generator of its own, repeats no run. To mend it: draw from torch's global generator, which
    the engine seeds, and in `step` only `if self.training`.
    """
    one = _state_dict(subject.build(WIDTH))
    other = _state_dict(subject.build(WIDTH))
    value = gaps(list(one.values()), list(other.values()), "weights")
    findings = [Measured(value, EXACT, "weights built twice from one seed")]
    _own_seed(subject)

    cell = subject.cell(dtype=SINGLE)
    x = subject.x(3, STEPS, dtype=SINGLE)
    with torch.no_grad():
        # Equal outputs are not enough: noise times 0 still moves a generator.
        before = _generators()
        first, _ = called(cell, x, None)
        second, _ = called(cell, x, None)
        moved = _moved(before, _generators())
        if moved:
            raise Broken(f"evaluation draws from the generator of {moved[0]}")
        value = gap(second, first, "the output")
        findings.append(Measured(value, EXACT, "evaluated twice"))

        cell.train()
        first = _trained(cell, x)
        second = _trained(cell, x)
        value = gap(second, first, "the output")
        findings.append(Measured(value, EXACT, "run twice in training, from one seed"))
    return worst(findings)


def _trained(cell: Cell[Any], x: Tensor) -> Tensor:
    """Return the outputs of a window, from a stream of random numbers that is always the same."""
    with seeded(SEED, "dropout"):
        y, _ = called(cell, x, None)
    return y


def _own_seed(subject: CellSubject) -> None:
    """Raise `Broken` if building the cell seeds torch's generator, or draws from others."""
    states = []
    for seed in (SEED, SEED + 1):
        with seeded(seed, "init"):
            before = _generators()
            subject.entry.target(WIDTH, subject.options)
            after = _generators()
        states.append(after["torch"])
        moved = [name for name in _moved(before, after) if name != "torch"]
        if moved:
            raise Broken(
                f"building it draws from the generator of {moved[0]}, which the engine does not"
                " seed"
            )

    # Two seeds lead to two states, unless building sets one.
    one, other = states
    if one == other:
        raise Broken(
            "building it seeds torch's generator: every seed leads to the same random numbers"
            " after it"
        )


def _generators() -> dict[str, Any]:
    """Return the states of the global generators, to be compared."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr(np.random.get_state()),
        "Python": random.getstate(),
    }


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return whose generators are in another state now."""
    return [name for name, state in after.items() if state != before[name]]


@check("C20", "its size is known beforehand", "cell")
def size_is_known(subject: CellSubject) -> Measured:
    """Parameters, buffers and state depend on options and input width alone: not on T, on B or on
    what ran before.

    Two cells built alike have the same `output_size` and the same tensors by name, shape and type,
    also after one of them ran windows of [1, 1], [7, 12] and [2, 70]; and a row of the state has
    the same bytes before and after each. A state that grows is a cache and not a recurrence, one
    that depends on B mixes rows; tables that are made at the first run are missing where a
    checkpoint is loaded. To mend it: make all tensors in the constructor, of fixed shapes.
    """
    cell = subject.cell(dtype=SINGLE)
    sizes = _sizes(cell)
    # Every size that a row of the state has had: there must be but one.
    bytes_a_row = set[int]()
    for batch, steps in ((1, 1), (7, 12), (2, 70)):
        x = subject.x(batch, steps, dtype=SINGLE)
        for path in subject.paths():
            cell.path = path
            with torch.no_grad():
                start = subject.fresh(cell, x)
                _, after = called(cell, x, None)
            bytes_a_row |= {_bytes(state) // batch for state in (start, after)}
            if _sizes(cell) != sizes:
                changed = _changed(sizes, _sizes(cell))
                raise Broken(f"a window of [{batch}, {steps}] on path {path} changes {changed}")

    other = subject.cell(dtype=SINGLE)
    if _sizes(other) != sizes:
        changed = _changed(sizes, _sizes(other))
        raise Broken(f"a second cell, built alike, differs in {changed}")
    if other.output_size != cell.output_size:
        raise Broken(
            f"a second cell, built alike, has an output_size of {other.output_size}, not"
            f" {cell.output_size}"
        )

    weights = sum(weight.numel() for weight in cell.parameters())
    least, most = min(bytes_a_row), max(bytes_a_row)
    detail = f"{weights:,} parameters, {least} bytes of state a row"
    return Measured(float(most - least), EXACT, detail)


def _sizes(cell: nn.Module) -> dict[str, tuple[Any, ...]]:
    """Return the shape and the type of each parameter and buffer."""
    tensors = [*cell.named_parameters(), *cell.named_buffers()]
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors}


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return the first tensor that is another one now, or what else makes them differ."""
    for name in [*before, *after]:
        if before.get(name) != after.get(name):
            return name
    return "the order of its tensors"


def _bytes(state: State) -> int:
    """Return the bytes of all fields."""
    return sum(field.numel() * field.element_size() for field in state)


@check("C21", "saved here, the same elsewhere", "cell", firm=True, each=False)
def saved_and_loaded(subject: CellSubject) -> Measured:
    """Weights saved as safetensors and loaded strictly in a fresh process give the same outputs,
    bit for bit.

    The other process knows the import strings, the options and the file alone, and builds the cell
    from another seed; each set of options is tried. Checkpoints are exactly this: what is random
    and not saved, two names of one tensor, which safetensors refuses, and tensors that are not
    contiguous are found only after the training is paid for. To mend it: register what the output
    depends on as a parameter or a persistent buffer, read one tensor by one name, and call
    `.contiguous()` on what is transposed.
    """
    tables = [subject.table, *(table for table in subject.sets if table != subject.table)]
    x = subject.x(3, STEPS, dtype=SINGLE)
    findings = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        save_file({"x": x}, home / "x.safetensors")
        answers = []
        for index, table in enumerate(tables):
            answers.append(_saved(subject, table, x, home / f"{index}.safetensors"))
        _reload(subject, tables, home)

        # What the other process made of them lies beside the weights.
        for index, (table, outputs) in enumerate(zip(tables, answers, strict=True)):
            there = load_file(home / f"{index}.found.safetensors")
            values = [there[name] for name in outputs]
            value = gaps(values, list(outputs.values()), "outputs and state")
            findings.append(Measured(value, EXACT, f"under {table}"))

    farthest = worst(findings)
    detail = f"{len(tables)} sets of options" if farthest.passed else farthest.detail
    return Measured(farthest.value, EXACT, detail)


def _reload(subject: CellSubject, tables: list[dict[str, Any]], folder: Path) -> None:
    """Let another process load the weights in a folder, and write there what its cells give."""
    entry = subject.entry
    component = entry.component
    names = (component.target, component.options)
    argument = {
        "folder": str(folder),
        "origins": [child.origin(entry, name) for name in names],
        # Waivers are no plain table, and say nothing of how a cell is built.
        "component": asdict(component) | {"waivers": {}},
        "plugin": asdict(entry.plugin),
        "tables": tables,
        "seed": SEED + 1,
    }
    child.run(RELOADED, argument)


RELOADED = """
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from recurra.catalog import Entry, Plugin
from recurra.contracts.component import Component
from recurra.testing.checks.cell.module import outputs_of
from recurra.testing.option_sets import validated
torch.set_num_threads(1)
for place in argument["origins"]:
    load(*place)
entry = Entry(Component(**argument["component"]), Plugin(**argument["plugin"]))
folder = Path(argument["folder"])
# The clone is aligned as other memory is: sums of MKL depend on it.
x = load_file(folder / "x.safetensors")["x"].clone()
for index, table in enumerate(argument["tables"]):
    torch.manual_seed(argument["seed"])
    cell = entry.target(x.shape[2], validated(entry, table)).eval()
    cell.load_state_dict(load_file(folder / f"{index}.safetensors"), strict=True)
    save_file(outputs_of(cell, x), folder / f"{index}.found.safetensors")
tell(True)
"""
"""What the other process does."""


def outputs_of(cell: Cell[Any], x: Tensor) -> dict[str, Tensor]:
    """Return outputs and final state of a window `[B, T, D]` by name, step by step.

    They are tensors that can be saved.
    """
    cell.path = "eager"
    with torch.no_grad():
        y, state = called(cell, x, None)

    # A copy of each field: two of them, or one and the output, may share their memory.
    answers = {"y": y.contiguous()}
    for index, field in enumerate(state):
        answers[f"state {index}"] = field.clone().contiguous()
    return answers


def _saved(subject: CellSubject, table: dict[str, Any], x: Tensor, path: Path) -> dict[str, Tensor]:
    """Save a cell's weights; return what it gives."""
    with seeded(SEED, "init"):
        options = validated(subject.entry, table)
        cell = subject.entry.target(WIDTH, options).eval()
    weights = _state_dict(cell)
    _can_be_saved(weights)
    save_file(weights, path)
    return outputs_of(cell, x)


def _can_be_saved(weights: Mapping[str, Tensor]) -> None:
    """Raise `Broken` if safetensors would refuse the weights."""
    # Which name a piece of memory has first; tensors of no elements have none.
    storages: dict[int, str] = {}
    for name, weight in weights.items():
        if not weight.is_contiguous():
            raise Broken(f"{name} is not contiguous, and safetensors does not save it")
        if not weight.numel():
            continue
        twin = storages.setdefault(weight.untyped_storage().data_ptr(), name)
        if twin != name:
            raise Broken(
                f"{twin} and {name} share their memory, and safetensors does not save them"
            )


def _state_dict(cell: nn.Module) -> dict[str, Tensor]:
    """Return what a cell saves, without graphs."""
    return {name: value.detach() for name, value in cell.state_dict().items()}


@check("C22", "it can be copied", "cell", firm=True)
def copies_are_equal(subject: CellSubject) -> Measured:
    """`copy.deepcopy`, pickle and `torch.func.functional_call` give the same outputs to the bit,
    and copies are apart.

    A copy is made after a step of training, as averages of weights and worker processes do; weights
    that are changed in the copy do not change the cell, and weights given to `functional_call` are
    the ones that count. A lambda, a lock or a tensor with a graph on the module breaks the first
    two; a weight that is captured in a closure breaks the last. To mend it: keep plain data,
    parameters and buffers on the module, and read weights from `self` at each step.
    """
    cell = subject.cell(dtype=SINGLE)
    x = subject.x(3, STEPS, dtype=SINGLE)
    with torch.no_grad():
        expected, _ = called(cell, x, None)

    # A step of training may leave a graph on the module, which nothing can copy.
    y, _ = called(cell, x, None)
    total = y.sum()
    if total.requires_grad:
        torch.autograd.backward(total)
    cell.zero_grad()

    with torch.no_grad():
        for what, copying in COPIES.items():
            try:
                copied = copying(cell)
            except Exception as error:
                raise Broken(f"{what} cannot be made: {type(error).__name__}: {error}") from error
            _equal(copied, x, expected, what)
            for weight in copied.parameters():
                weight.mul_(0.75).add_(0.01)
            _equal(cell, x, expected, f"the cell, after {what} was changed")

        # The last copy's weights are others by now: given to the cell, they must count.
        weights: dict[str, Tensor] = dict(copied.named_parameters())
        answer = torch.func.functional_call(cell, weights, (x,))
        y, _ = called(copied, x, None)
        value = gap(answer[0], y, "the output")
    return Measured(value, EXACT, "functional_call with other weights")


def _pickled(cell: Cell[Any]) -> Cell[Any]:
    """Return a copy by way of pickle."""
    copied: Cell[Any] = pickle.loads(pickle.dumps(cell, protocol=5))
    return copied


COPIES: dict[str, Callable[[Cell[Any]], Cell[Any]]] = {
    "a deep copy": copy.deepcopy,
    "a pickled copy": _pickled,
}


def _equal(cell: Cell[Any], x: Tensor, expected: Tensor, what: str) -> None:
    """Raise `Broken` unless a cell gives these outputs, to the bit."""
    y, _ = called(cell, x, None)
    value = gap(y, expected, "the output")
    if value > 0:
        raise Broken(f"{what} gives other outputs: {value:.1e}")


@check("C23", "it runs where its weights are", "cell", firm=True)
def runs_on_its_device(subject: CellSubject) -> Measured:
    """On the meta device, and on a GPU if there is one, the state, a step and every path stay on
    the weights' device.

    The meta device has shapes and no numbers, so that it finds on any machine what a GPU would: a
    tensor that is built on the CPU, and a branch on a tensor's value, which makes a GPU wait at
    every step. To mend it: give `device` to what builds tensors, or take `x.new_zeros(...)` and
    `torch.zeros_like(...)`; choose by `torch.where`.
    """
    devices = ["meta"]
    if torch.cuda.is_available():
        devices.append("cuda")
    for device in devices:
        moved = subject.cell(dtype=SINGLE).to(device)
        for path in proof.PROOFS.accepting(moved):
            _stays_on(subject, device, path)
    return Measured(0.0, EXACT, " and ".join(devices))


def _stays_on(subject: CellSubject, device: str, path: str) -> None:
    """Raise `Broken` if a state, a step or a window is not on the weights' device."""
    cell = subject.cell(dtype=SINGLE, path=path).to(device)
    x = subject.x(3, STEPS, dtype=SINGLE).to(device)
    state = subject.fresh(cell, x)
    answers = {
        "step": cell.step(x[:, 0], state),
        f"path {path}": called(cell, x, state),
    }
    for what, (y, after) in answers.items():
        for tensor in (*state, y, *after):
            if tensor.device.type != device:
                raise Broken(f"{what} gives a tensor on {tensor.device}, with weights on {device}")


@check("C24", "it computes in the type of its weights", "cell")
def follows_its_type(subject: CellSubject) -> Measured:
    """In float64, float32 and bfloat16 outputs and state have the weights' type, and the values
    agree.

    float32 is as near to float64 as rounding allows. bfloat16 is within 2 % of float32 with the
    same rounded weights, as a ratio of root mean squares, and so is float32 under autocast: that is
    what products and sums of 8 bits cost, and logarithms of cumulative sums cost three times as
    much. To mend it: cast sensitive sums to float32 and the result back to `x.dtype`; build
    constants with `dtype=x.dtype`; mix types by operations that promote them, which `torch.lerp`
    does not; or declare what it lacks.
    """
    lacks = subject.entry.component.lacks
    wide = subject.wider(32)
    single = _typed(wide.cell(dtype=SINGLE), wide.x(3, STEPS, dtype=SINGLE))
    findings = []
    if "float64" not in lacks:
        double = _typed(wide.cell(), wide.x(3, STEPS))
        value = gap(single.double(), double, "the output")
        findings.append(Measured(value, float32(STEPS), "float32 against float64"))

    if "bfloat16" not in lacks:
        cell = wide.cell(dtype=torch.bfloat16)
        x = wide.x(3, STEPS, dtype=torch.bfloat16)
        narrow = _typed(cell, x)
        # The same weights and inputs, which are rounded by now.
        rounded = _typed(cell.float(), x.float())
        ratio = _ratio(narrow, rounded)
        findings.append(Measured(ratio, BFLOAT16, "bfloat16 against float32"))

        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            cell = wide.cell(dtype=SINGLE)
            x = wide.x(3, STEPS, dtype=SINGLE)
            mixed, _ = called(cell, x, wide.fresh(cell, x))
        ratio = _ratio(mixed, single)
        findings.append(Measured(ratio, BFLOAT16, "float32 under autocast against float32"))
    return worst(findings) if findings else Measured(0.0, EXACT, "float32")


def _ratio(values: Tensor, expected: Tensor) -> float:
    """Return the root mean square of a difference over that of what is expected."""
    difference = values.float() - expected
    ratio = difference.square().mean().sqrt() / expected.square().mean().sqrt()
    return ratio.item()


def _typed(cell: Cell[Any], x: Tensor) -> Tensor:
    """Return the outputs for a window.

    Raises `Broken` if they have not the type of the inputs, or a field that of its start.
    """
    start = CellSubject.fresh(cell, x)
    with torch.no_grad():
        y, state = called(cell, x, start)

    rows = [("the output", y, x)]
    for index, (field, before) in enumerate(zip(state, start, strict=False)):
        rows.append((f"field {index} of the state", field, before))
    for name, tensor, before in rows:
        if before.is_floating_point() and tensor.dtype != before.dtype:
            raise Broken(
                f"with weights and inputs in {x.dtype}, {name} is {tensor.dtype}, not"
                f" {before.dtype}"
            )
    return y
