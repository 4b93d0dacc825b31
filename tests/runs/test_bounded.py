"""What recurra reads back may lie of its size: it is refused before memory is taken for it."""

from __future__ import annotations

import json
import struct
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from recurra.runs import bounded, files, headers
from recurra.runs.folder import RunFolder

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def tensors(path, header, data=b"\0" * 8, length=None):
    """Write a safetensors file with this header, which may say another length of itself."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({"a": {**F32, "shape": [3]}}, "'a' has 8 bytes"),
        ({"a": {**F32, "shape": [1 << 62, 1 << 62]}}, "'a' has 8 bytes"),
        ({"a": {**F32, "shape": [-2, -1]}}, "the shape of 'a'"),
        ({"a": {**F32, "shape": [2.0]}}, "the shape of 'a'"),
        (b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', "NaN is no number"),
        ({"a": {**F32, "dtype": "F31"}}, "of 'a' is no tensor"),
        ({"a": {**F32, "dtype": []}}, "of 'a' is no tensor"),
        ({"a": {"dtype": "F32"}}, "of 'a' is no tensor"),
        ({"a": {**F32, "data_offsets": [0, 16], "shape": [4]}}, "and it holds 8"),
        ({"a": {**F32, "data_offsets": [4, 8], "shape": [1]}}, "does not begin"),
        ({"a": {**F32, "data_offsets": [8, 0]}}, "does not begin and end"),
        ({"a": {**F32, "shape": [1] * 65}}, "the shape of 'a'"),
        ({"a": {**F32, "shape": [10**900] * 10_000}}, "the shape of 'a'"),
        (b' {"a":%b}' % json.dumps(F32).encode(), "no table of tensors"),
        ({"a": F32, "b": F32}, "'b' does not begin"),
        ({"a": {**F32, "shape": [1], "data_offsets": [0, 4]}}, "and it holds 8"),
        (b'{"a":%b,"a":%b}' % ((json.dumps(F32).encode(),) * 2), "'a' comes twice"),
        ([], "no table of tensors"),
        (b"[" * 5000, "nests more than 100"),
        (b"{" + b'"a":1,' * 100, "Expecting"),
        (b'{"a":' + b"9" * 5000 + b"}", "digits"),
    ],
)
def test_a_header_that_lies_is_refused(header, told, tmp_path):
    """Whatever it says that the file does not hold, byte for byte, is told."""
    with pytest.raises(ValueError, match=told.replace("[", "\\[")):
        headers.of_file(tensors(tmp_path / "x.safetensors", header))


@pytest.mark.parametrize("length", [0, 1, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_header_longer_than_its_file_is_refused(length, tmp_path):
    """So is one of a length that no file has."""
    with pytest.raises(ValueError, match="its header should have"):
        headers.of_file(tensors(tmp_path / "x.safetensors", {"a": F32}, length=length))


def test_a_header_of_a_hundred_megabytes_is_not_read(tmp_path):
    """It is refused by the length that it says."""
    path = tensors(tmp_path / "x.safetensors", b"{", length=100 << 20)
    with path.open("r+b") as file:
        file.truncate(200 << 20)
    with pytest.raises(ValueError, match="16,777,216 at most"):
        headers.of_file(path)


kinds = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool])
shapes = st.lists(st.integers(0, 3), max_size=3)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=4), st.tuples(kinds, shapes), max_size=4))
def test_whatever_the_library_writes_is_taken(tmp_path_factory, said):
    """Any tensors, with or without numbers in them, pass and come back."""
    said = {name.encode("utf-8", "replace").decode(): what for name, what in said.items()}
    said.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("taken") / "x.safetensors"
    save_file({n: torch.zeros(s, dtype=k) for n, (k, s) in said.items()}, path, {"about": "x"})
    headers.of_file(path)
    assert {n: [t.dtype, list(t.shape)] for n, t in load_file(path).items()} == {
        n: [*what] for n, what in said.items()
    }


@pytest.mark.parametrize("about", ["", [], 0, False, None, {}, {"a": "b"}, {"a": 1}, {"a": None}])
def test_what_a_file_says_about_itself_is_taken_where_the_library_takes_it(about, tmp_path):
    """Of what it says beside its tensors no more is known than that it is text by name."""
    path = tensors(tmp_path / "x.safetensors", {"__metadata__": about, "a": F32})
    try:
        load_file(path)
    except SafetensorError:
        with pytest.raises(ValueError, match="says about itself is no text"):
            headers.of_file(path)
    else:
        headers.of_file(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"[" * 200_000, "nests"),
        (b'{"a":' * 100_000, "nests"),
        (b'["]",' * 200 + b"[" * 200, "nests"),
        (b"[" + b"[]," * (1 << 21) + b"[]]", "more than 4,194,304 values"),
        (b"9" * 10_000, "digits"),
    ],
)
def test_json_that_grows_in_memory_is_refused(text, told, tmp_path):
    """Brackets, values and digits are counted before anything is made of them."""
    path = tmp_path / "x.json"
    path.write_bytes(text)
    start = time.process_time()
    with pytest.raises(ValueError, match=told):
        files.read_json(path)
    assert time.process_time() - start < 4


def test_a_json_file_with_holes_is_refused_by_its_size(tmp_path, monkeypatch):
    """No more is taken than is allowed, and one byte."""
    path = tmp_path / "x.json"
    monkeypatch.setattr(bounded, "BYTES", 1 << 16)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="larger than 65,536 bytes"):
        bounded.whole(path, 1 << 16)


def test_what_is_large_and_sound_is_read(tmp_path):
    """So are a vocabulary of 300,000 words with brackets among them, and lists to the bound."""
    words = [f'{n} [{{"\\' for n in range(300_000)]
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps({"words": words}))
    assert files.read_json(path) == {"words": words}
    deep = "[" * bounded.DEEPEST + "]" * bounded.DEEPEST
    assert files.parsed(f'[{deep[1:-1]},"[[[["]')
    assert files.parsed("9" * bounded.DIGITS) == int("9" * bounded.DIGITS)


def test_a_line_that_never_ends_is_no_record(tmp_path):
    """A gigabyte without a newline is passed over, and what stands around it is read."""
    record = b'{"step": 1, "split": "train"}\n'
    with (tmp_path / "metrics.jsonl").open("wb") as file:
        file.write(record)
        file.seek(1 << 28)
        file.write(b"\n" + record.replace(b"1", b"2") + b'{"cut')
    assert [row["step"] for row in RunFolder(tmp_path).metrics()] == [1, 2]
