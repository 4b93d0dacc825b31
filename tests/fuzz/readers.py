"""Every reader of a file, as a function of bytes: it gives a result or one of recurra's errors.

Each comes with sound bytes to begin from, which are mutated in the form that they have.
"""

from __future__ import annotations

import io
import json
import struct
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, load_file, save

from fuzz import values
from recurra.errors import RecurraError
from recurra.generate import saved
from recurra.runs import archive, bundles, files, headers
from recurra.runs.checkpoints import FORMAT, Checkpoints
from recurra.runs.folder import RunFolder
from recurra.runs.inspection import inspect
from recurra.runs.records import CHANGES, ORIGIN, Records
from recurra.spec import checking, positions
from recurra.spec.overrides import key_of, overriding
from recurra.spec.reading import read
from recurra_sources.parquet import Parquet, ParquetOptions
from recurra_sources.tables import Csv, CsvOptions, Jsonl, JsonlOptions
from recurra_sources.text import Text, TextOptions

Draw = Callable[[Random, bytes], bytes]


class Reader(NamedTuple):
    """A reader: what takes bytes and a folder, sound bytes, and how these are mutated in form."""

    call: Callable[[bytes, Path], Any]
    seeds: list[bytes]
    form: Draw


def _file(folder: Path, raw: bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


def task(raw: bytes, folder: Path) -> None:
    """Read a task file, and check the core's tables; each key has a place."""
    document = read(_file(folder, raw, "task.toml"))
    checking.check(document)
    for key in list(document.origins)[:50]:
        document.place(key)


def scanned(raw: bytes, folder: Path) -> None:
    """Find the places of all that stands in a text that is TOML."""
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n")
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError):
        return
    spans = positions.Scanner(text).scan()
    missing = [path for path in values.walk(tables) if path not in spans]
    assert not missing, missing


def overrides(raw: bytes, folder: Path) -> None:
    """Read overrides, one a line."""
    texts = raw.decode("utf-8", "surrogateescape").split("\n")
    with suppress(RecurraError):
        overriding(texts)
    for text in texts:
        key_of(text)


def _source(made: Callable[[str], Any], name: str) -> Callable[[bytes, Path], None]:
    def call(raw: bytes, folder: Path) -> None:
        path = _file(folder, raw, name)
        for element in ("numbers", "text", "tokens"):
            with suppress(RecurraError):
                for _ in made(str(path)).read(element):
                    pass

    return call


def _text(name: str) -> Callable[[bytes, Path], None]:
    def call(raw: bytes, folder: Path) -> None:
        path = _file(folder, raw, name)
        for each in ("file", "line"):
            with suppress(RecurraError):
                for _ in Text(TextOptions(path=str(path), each=each)).read("text"):
                    pass

    return call


def tensors(raw: bytes, folder: Path) -> None:
    """Check a safetensors file by its header; one that passes is loaded, and holds what it says."""
    path = _file(folder, raw, "x.safetensors")
    try:
        found = headers.of_file(path).tensors
    except ValueError:
        return
    assert {tensor.name for tensor in found} == load_file(path).keys()


def session(raw: bytes, folder: Path) -> None:
    """Read a saved session."""
    saved.read(_file(folder, raw, "session.safetensors"), "s")


def checkpoint(raw: bytes, folder: Path) -> None:
    """Read a checkpoint whose hashes are right, whatever its files hold."""
    whole = folder / "checkpoints" / "step-1"
    whole.mkdir(parents=True)
    cut = raw.find(b"\0") + 1
    contents = {"state.json": raw[: max(cut - 1, 0)], "model.safetensors": raw[cut:]}
    digests = {name: files.digest_of(_file(whole, each, name).read_bytes()) for name, each in
               contents.items()}  # fmt: skip
    manifest = json.dumps({"format": FORMAT, "step": 1, "sha256": digests}).encode()
    _file(whole, manifest, "manifest.json")
    index = {"last": 1, "sha256": {"step-1": files.digest_of(manifest)}}
    _file(whole.parent, json.dumps(index).encode(), "index.json")
    Checkpoints(whole.parent).load()


def records(raw: bytes, folder: Path) -> None:
    """Read bytes as each of the records of a run."""
    own = Records(folder)
    names = ["plugins.json", "environment.json", "data.json", "vocabulary.json", ORIGIN, CHANGES]
    for name in [*names, "hashes.json", "metrics.jsonl"]:
        _file(folder, raw, name)
    (folder / "checkpoints").mkdir()
    _file(folder / "checkpoints", raw, "index.json")
    for call in (
        own.plugins, own.environment, own.data, own.vocabulary, own.origin, own.changes, own.verify,
        RunFolder(folder).metrics, Checkpoints(folder / "checkpoints").index,
    ):  # fmt: skip
        with suppress(RecurraError):
            call()


def bundle(raw: bytes, folder: Path) -> None:
    """Open a bundle, and take everything out of it."""
    path = _file(folder, raw, "x.zip")
    with bundles.opened(path) as (held, _):
        held.extract(folder / "out")


def inspected(raw: bytes, folder: Path) -> None:
    """Look at a file of any kind, and at a run's folder that holds it."""
    path = _file(folder, raw, "x")
    with suppress(RecurraError):
        inspect(path)
    run = folder / "run"
    run.mkdir()
    for name in ("task.toml", "plugins.json", "environment.json", "hashes.json", "result.json"):
        _file(run, raw, name)
    inspect(run)


def _json(random: Random, raw: bytes) -> bytes:
    """Change a value of JSON, or of its first part."""
    try:
        data, _ = values.disturbed(random, json.loads(raw), values.JSON)
    except ValueError:
        return values.corrupted(random, raw)[0]
    return json.dumps(data).encode()


def _header(random: Random, raw: bytes) -> bytes:
    """Change what a safetensors file says of its tensors."""
    size = struct.unpack("<Q", raw[:8])[0]
    header = _json(random, raw[8 : 8 + size])
    return struct.pack("<Q", len(header)) + header + raw[8 + size :]


def _state(random: Random, raw: bytes) -> bytes:
    cut = raw.find(b"\0")
    if random.random() < 0.5:
        return _json(random, raw[:cut]) + raw[cut:]
    return raw[: cut + 1] + _header(random, raw[cut + 1 :])


def _packed(random: Random, raw: bytes) -> bytes:
    """Change the manifest or an entry of a zip archive, and pack it anew."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(out, "w") as new:
        chosen = random.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            if name == chosen:
                content = _json(random, content)
                name = random.choice([name, name, name, f"../{name}", f"/{name}", "a/b", "."])
            new.writestr(name, content)
    return out.getvalue()


def _lines(random: Random, raw: bytes) -> bytes:
    text = raw.decode("utf-8", "replace")
    text = random.choice([values.shuffled(random, text, [text]), values.scribbled(random, text)])
    return text.encode("utf-8", "surrogatepass")


def _raw(random: Random, raw: bytes) -> bytes:
    return values.corrupted(random, raw)[0]


TOML = b"""name = "x"
extends = ""
[source]
kind = "inline"
values = [1.0, 2e3, nan, [1], {a = 1, "b.c" = '''x'''}]
[[cell.stack]]
kind = "gru"
[cell.stack.block]
norm = "rms" # no
[sequence]
split = [0.8, 0.1, 0.1]
[training]
steps = 0x10
a.b . 'c' = 1979-05-27 07:32:00
"""
ABOUT = {
    "format": bundles.FORMAT, "recurra": "0.1.0", "task": "x", "step": 1, "finished": True,
    "given": False, "with_data": True, "start": None,
    "places": [{"table": "source", "key": "path", "path": "a.csv", "entry": "data/a.csv"}],
}  # fmt: skip
RECORDS = [
    [{"kind": "cell", "name": "gru", "distribution": "recurra", "version": "0.1.0"}],
    {"python": "3.11", "torch": "2", "recurra": "0.1.0", "device": "cpu", "threads": 1},
    {"fingerprint": "0" * 64, "sequences": 1, "sizes": {"train": 1}, "symbols": ["a"]},
    {"task.toml": ["0" * 64], "step": 1, "split": "train", "loss": 1.0},
    {"last": 1, "sha256": {"step-1": "0" * 64}},
]


def _bundle() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.zip"
        archive.write(path, ABOUT, {"run/task.toml": TOML, "data/a.csv": b"a\n1\n"})
        return path.read_bytes()


def _parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table({"a": [1.5, None, 3.0], "b": ["x", "y", None]}), out)
    return out.getvalue()


def _gz() -> bytes:
    import gzip

    return gzip.compress(b"a,b\n1,2\n3,x\n" * 9)


SOUND = save({"w": torch.zeros(2, 2), "b": torch.zeros(0)}, {"signature": "s", "sha256": "0"})
CSV = b'a,b\n1.5,"x\n""y"\n-2e3,\n'
ROWS = b'{"a": 1.5, "b": "x"}\n{"a": null, "b": [1, "\\ud83d"]}\n'

READERS: dict[str, Reader] = {
    "task": Reader(task, [TOML.replace(b'extends = ""\n', b"")], _lines),
    "positions": Reader(scanned, [TOML], _lines),
    "overrides": Reader(
        overrides, [b'cell.hidden_size=64\na."b.c"={x=[1,2]}\nunset=["a"]\na=x'], _lines
    ),
    "csv": Reader(
        _source(lambda p: Csv(CsvOptions(path=p, columns=["a"], missing="drop")), "a.csv"),
        [CSV],
        _lines,
    ),
    "jsonl": Reader(
        _source(lambda p: Jsonl(JsonlOptions(path=p, columns=["a"], missing="drop")), "a.jsonl"),
        [ROWS],
        _lines,
    ),
    "text": Reader(_text("a.txt"), ["é\r\nx y\n\ufeff".encode(), "ab".encode("utf-16")], _lines),
    "packed": Reader(_text("a.txt.gz"), [_gz()], _raw),
    "tensors": Reader(tensors, [SOUND], _header),
    "session": Reader(session, [SOUND], _header),
    "checkpoint": Reader(checkpoint, [b'{"step": 1, "random": [1, 2]}\0' + SOUND], _state),
    "records": Reader(records, [json.dumps(each).encode() for each in RECORDS], _json),
    "bundle": Reader(bundle, [_bundle()], _packed),
    "inspect": Reader(inspected, [_bundle(), SOUND, TOML, b'{"sha256": {"a": ["b"]}}'], _raw),
}

if find_spec("pyarrow") is not None:
    READERS["parquet"] = Reader(
        _source(lambda p: Parquet(ParquetOptions(path=p, columns=["a"])), "a.parquet"),
        [_parquet()],
        _raw,
    )


def tried(name: str, raw: bytes) -> None:
    """Let a reader read bytes: a result, or one of recurra's errors; anything else comes out."""
    with tempfile.TemporaryDirectory(prefix="recurra-fuzz-") as folder, suppress(RecurraError):
        READERS[name].call(raw, Path(folder))


assert load(SOUND)
