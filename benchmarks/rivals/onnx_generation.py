"""Rows 14 and 15 of `recurra bench`: generation in ONNX Runtime.

Two LSTM layers between an embedding and a head, as the operator `LSTM` or as a product and its
gates (`gemm`). A graph of one step is called a symbol at a time, with buffers bound to it or
without, or stands within a loop of the graph. The likeliest symbol is taken, or one of the `top_k`
likeliest is drawn in the graph, at a temperature.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from turns import Arrays, Side, serve

OPSET = 18


class Graph:
    """The nodes of one step and their weights."""

    def __init__(self, case: dict[str, Any], arrays: Arrays) -> None:
        self.case = case
        self.layers = case["layers"]
        self.width = arrays["embedding"].shape[1]
        self.operator = case["operator"]
        self.nodes: list[NodeProto] = []

        head = np.ascontiguousarray(arrays["head.weight"].T)
        self.constants: Arrays = {
            "embedding": arrays["embedding"],
            "head": head,
            "bias": arrays["head.bias"],
            "first_axis": np.array([0], np.int64),
            "second_axis": np.array([1], np.int64),
        }
        for number in range(self.layers):
            self._weights(number, arrays)

        x = self.add("Gather", "embedding", "symbols")
        if self.operator == "lstm":
            x = self.by_operator(x)
        else:
            for number in range(self.layers):
                x = self.by_product(number, x)
        self.pick(self.add("Gemm", x, "head", "bias"))

    def _weights(self, number: int, arrays: Arrays) -> None:
        """Take the weights of a layer in the order and shape that they are wanted in."""
        weight, recurrent, one, two = (
            arrays[f"{number}.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        if self.operator == "lstm":
            self.constants[f"weight{number}"] = ordered(weight)[None]
            self.constants[f"recurrent{number}"] = ordered(recurrent)[None]
            self.constants[f"bias{number}"] = np.concatenate([ordered(one), ordered(two)])[None]
        else:
            joined = np.concatenate([weight, recurrent], 1).T
            self.constants[f"weight{number}"] = np.ascontiguousarray(joined)
            self.constants[f"bias{number}"] = one + two

    def add(self, kind: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the name of that."""
        into = into or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [into], **attributes))
        return into

    def by_operator(self, x: str) -> str:
        """Add all layers as operators `LSTM`, which read `[1, S, H]`."""
        x = self.add("Unsqueeze", x, "first_axis")
        for number in range(self.layers):
            names = [f"{kind}{number}" for kind in ("weight", "recurrent", "bias")]
            states = [f"h{number}", f"c{number}"]
            outputs = [f"all{number}", *(f"{name}_next" for name in states)]
            inputs = [x, *names, "", *states]
            node = helper.make_node("LSTM", inputs, outputs, hidden_size=self.width)
            self.nodes.append(node)
            x = self.add("Squeeze", outputs[0], "second_axis")  # of one direction
        return self.add("Squeeze", x, "first_axis")

    def by_product(self, number: int, x: str) -> str:
        """Add a layer as one product and what its gates do."""
        joined = self.add("Concat", x, f"h{number}", axis=1)
        gates = self.add("Gemm", joined, f"weight{number}", f"bias{number}")
        parts = [f"gate{number}_{place}" for place in range(4)]
        self.nodes.append(helper.make_node("Split", [gates], parts, axis=1, num_outputs=4))

        i, f, o = (self.add("Sigmoid", parts[place]) for place in (0, 1, 3))
        g = self.add("Tanh", parts[2])
        left, right = self.add("Mul", f, f"c{number}"), self.add("Mul", i, g)
        c = self.add("Add", left, right, into=f"c{number}_next")
        return self.add("Mul", o, self.add("Tanh", c), into=f"h{number}_next")

    def pick(self, logits: str) -> None:
        """Add what takes the likeliest symbol, or draws one, by the largest of noisy logits."""
        if not self.case["top_k"]:
            self.add("ArgMax", logits, axis=1, keepdims=0, into="next")
            return

        self.constants["temperature"] = np.array(self.case["temperature"], np.float32)
        self.constants["top_k"] = np.array([self.case["top_k"]], np.int64)
        best, ids = "best", "best_ids"
        self.nodes.append(helper.make_node("TopK", [logits, "top_k"], [best, ids], axis=1))

        uniform = self.add("RandomUniformLike", best, low=1e-9, high=1.0, seed=1.0)
        noise = self.add("Neg", self.add("Log", self.add("Neg", self.add("Log", uniform))))
        noisy = self.add("Add", self.add("Div", best, "temperature"), noise)
        place = self.add("ArgMax", noisy, axis=1, keepdims=1)
        chosen = self.add("GatherElements", ids, place, axis=1)
        self.add("Squeeze", chosen, "second_axis", into="next")

    @property
    def states(self) -> list[str]:
        """The names of the fields of all layers."""
        return [f"{field}{number}" for number in range(self.layers) for field in "hc"]

    @property
    def zero(self) -> Any:
        """A field of the state before the first step."""
        shape = (self.case["streams"], self.width)
        return np.zeros((1, *shape) if self.operator == "lstm" else shape, np.float32)

    def model(self) -> bytes:
        """Return the model of a step, or of a loop of them."""
        streams = [self.case["streams"]]

        def symbols(name: str) -> ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.INT64, streams)

        def fields(suffix: str) -> list[ValueInfoProto]:
            shape = self.zero.shape
            make = helper.make_tensor_value_info
            return [make(name + suffix, TensorProto.FLOAT, shape) for name in self.states]

        initial = [numpy_helper.from_array(each, name) for name, each in self.constants.items()]
        inputs = [symbols("symbols"), *fields("")]
        outputs = [symbols("next"), *fields("_next")]
        if self.case["form"] != "whole":
            graph = helper.make_graph(self.nodes, "step", inputs, outputs, initial)
        else:
            graph = self._loop(inputs, outputs, symbols("emitted"), initial)

        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def _loop(
        self,
        inputs: list[ValueInfoProto],
        outputs: list[ValueInfoProto],
        emitted: ValueInfoProto,
        initial: list[TensorProto],
    ) -> onnx.GraphProto:
        """Return the graph whose one node is a loop round a step."""
        make = helper.make_tensor_value_info
        asked = make("go", TensorProto.BOOL, [])
        going = make("going", TensorProto.BOOL, [])
        copies = [("go", "going"), ("next", "emitted")]
        same = [helper.make_node("Identity", [name], [copy]) for name, copy in copies]
        body = helper.make_graph(
            [*self.nodes, *same],
            "body",
            [make("number", TensorProto.INT64, []), asked, *inputs],
            [going, *outputs, emitted],
        )

        starts = [f"{value.name}_start" for value in inputs]
        ends = [f"{value.name}_end" for value in inputs]
        loop = helper.make_node("Loop", ["steps", "true", *starts], [*ends, "all"], body=body)
        begun = [make("steps", TensorProto.INT64, [])]
        for value, name in zip(inputs, starts, strict=True):
            copied = ValueInfoProto()
            copied.CopyFrom(value)
            copied.name = name
            begun.append(copied)
        made = make("all", TensorProto.INT64, ["steps", self.case["streams"]])
        true = numpy_helper.from_array(np.array(True), "true")
        return helper.make_graph([loop], "loop", begun, [made], [*initial, true])


def ordered(weight: Any) -> Any:
    """Return the rows of the gates i, f, g, o in ONNX's order: i, o, f, g."""
    i, f, g, o = np.split(weight, 4)
    return np.concatenate([i, o, f, g])


def build(case: dict[str, Any], arrays: Arrays) -> Side:
    """Return what draws `steps` symbols of each of `streams` after the first of the vocabulary."""
    graph = Graph(case, arrays)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case["threads"]
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        graph.model(), options, providers=["CPUExecutionProvider"]
    )
    draw = {"called": called, "bound": bound, "whole": whole}[case["form"]](session, graph)
    return Side(draw, lambda: {"symbols": np.array(draw())})


def called(session: Any, graph: Graph) -> Any:
    """Return what calls a step with arrays, and reads arrays back."""
    steps, states = graph.case["steps"], graph.states
    first, zero = np.zeros(graph.case["streams"], np.int64), graph.zero

    def draw() -> list[list[int]]:
        symbols, state, rows = first, [zero] * len(states), []
        for _ in range(steps):
            given = dict(zip(states, state, strict=True))
            symbols, *state = session.run(None, {"symbols": symbols, **given})
            rows.append(symbols.tolist())
        return rows

    return draw


def bound(session: Any, graph: Graph) -> Any:
    """Return what calls a step with buffers that are bound: two sets, each read and written."""
    names = ["symbols", *graph.states]
    first = np.zeros(graph.case["streams"], np.int64)
    starts = [first, *(graph.zero for _ in graph.states)]
    make = onnxruntime.OrtValue.ortvalue_from_numpy
    sets = [[make(start.copy()) for start in starts] for _ in range(2)]

    bindings = []
    for inputs, outputs in (sets, sets[::-1]):
        binding = session.io_binding()
        for name, read, written in zip(names, inputs, outputs, strict=True):
            binding.bind_ortvalue_input(name, read)
            after = "next" if name == "symbols" else f"{name}_next"
            binding.bind_ortvalue_output(after, written)
        bindings.append((binding, outputs[0]))

    def draw() -> list[list[int]]:
        for value, start in zip(sets[0], starts, strict=True):
            value.update_inplace(start)
        rows = []
        for number in range(graph.case["steps"]):
            binding, symbols = bindings[number & 1]
            session.run_with_iobinding(binding)
            rows.append(symbols.numpy().tolist())
        return rows

    return draw


def whole(session: Any, graph: Graph) -> Any:
    """Return what calls the loop once."""
    inputs: dict[str, Any] = {
        "steps": np.array(graph.case["steps"], np.int64),
        "symbols_start": np.zeros(graph.case["streams"], np.int64),
        **{f"{name}_start": graph.zero for name in graph.states},
    }

    def draw() -> Any:
        return session.run(None, inputs)[0].tolist()

    return draw


if __name__ == "__main__":
    serve(build, {"onnxruntime": onnxruntime.__version__})
