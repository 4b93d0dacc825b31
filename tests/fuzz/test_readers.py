"""Readers at random: what others wrote comes back.

What is damaged gives whole rows, or an error with its place.
"""

from __future__ import annotations

import gzip
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.readers_tables import (
    CSV_READ_BY,
    DIALECTS,
    ENCODINGS,
    LETTERS,
    NUMBERS_READ_BY,
    QUOTED,
    READ_BY,
    damaged,
    demand_place,
    json_lines,
    outcome,
    sheets,
    source_of,
    write,
    written,
)
from recurra import InputError
from recurra_sources import files

FEW = settings(max_examples=15, deadline=None, database=None, derandomize=True)
MANY = settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
RANDOM = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)]
"""A law is tried on few examples, always the same, and under `-m slow` on many at random."""


def tried(law, effort):
    """Try a law as often as asked."""
    effort(law)()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(files, "BLOCK", 7)


@pytest.mark.parametrize("effort", RANDOM)
def test_what_python_writes_as_csv_comes_back(effort, tmp_path):
    """A table in any dialect and encoding, packed or not, reads back equal, column by column."""

    @given(sheets(), DIALECTS, ENCODINGS, st.booleans())
    def law(sheet, dialect, encoding, packed):
        names, rows = sheet
        raw = written(names, rows, dialect, encoding)
        path = write(
            tmp_path,
            "table.csv.gz" if packed else "table.csv",
            gzip.compress(raw) if packed else raw,
        )
        quote = dialect.get("quotechar", '"')
        options = {"delimiter": dialect["delimiter"], "quote": quote, "encoding": encoding}
        for index, name in enumerate(names):
            sequences = outcome(source_of("csv", path, [name], **options), "text")
            assert sequences == [[row[index]] for row in rows]

    tried(law, effort)


@pytest.mark.parametrize("effort", RANDOM)
def test_csv_and_json_lines_are_one(effort, tmp_path):
    """The same texts in both kinds of file give the same sequences."""

    @given(sheets())
    def law(sheet):
        names, rows = sheet
        one = write(tmp_path, "table.jsonl", json_lines(names, rows))
        other = write(tmp_path, "table.csv", written(names, rows, QUOTED))
        for name in names:
            sequences = [
                outcome(source_of(p.suffix[1:], p, [name], encoding="utf-8"), "text")
                for p in (one, other)
            ]
            assert sequences[0] == sequences[1] == [[row[names.index(name)]] for row in rows]

    tried(law, effort)


@pytest.mark.parametrize("effort", RANDOM)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_table_cut_anywhere_gives_whole_rows(effort, kind, tmp_path):
    """Of a file that ends anywhere come its first rows, the last perhaps cut short.

    Or there is an error with file and line.
    """

    @given(sheets(), st.data())
    def law(sheet, data):
        names, rows = sheet
        raw = json_lines(names, rows) if kind == "jsonl" else written(names, rows, QUOTED)
        cut = data.draw(st.integers(0, len(raw)))
        path = write(tmp_path, f"table.{kind}", raw[:cut])
        for index, name in enumerate(names):
            sequences = outcome(source_of(kind, path, [name]), "text")
            if isinstance(sequences, InputError):
                demand_place(sequences, path, raw[:cut].count(b"\n") + raw[:cut].count(b"\r") + 1)
                continue
            cells = [text for (text,) in sequences]
            whole = [row[index] for row in rows]
            assert cells[:-1] == whole[: len(cells)][:-1]
            assert not cells or whole[len(cells) - 1].startswith(cells[-1])
            assert kind == "csv" or cells == whole[: len(cells)]

    tried(law, effort)


@pytest.mark.parametrize("effort", RANDOM)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "text"])
def test_a_damaged_file_is_read_or_refused(effort, kind, tmp_path):
    """Whatever happened to a file, a reader gives values that can be written, or an error.

    The values are text that can be encoded, or finite numbers; the error can be printed and kept.
    """

    @given(sheets(), st.data())
    def law(sheet, data):
        names, rows = sheet
        raw = json_lines(names, rows) if kind == "jsonl" else written(names, rows, {})
        path = write(
            tmp_path, "file" + data.draw(st.sampled_from(["", ".gz"])), damaged(data.draw, raw)
        )
        element = (
            "text" if kind == "text" else data.draw(st.sampled_from(["text", "tokens", "numbers"]))
        )
        columns, options = names[:1], {}
        if kind != "text":
            options = data.draw(READ_BY)
        if kind == "csv":
            options |= data.draw(CSV_READ_BY)
        if kind == "csv" and element == "numbers":
            options |= data.draw(NUMBERS_READ_BY)
        if not options.get("header", True):
            columns, names = ["1"], ["2"]
        if kind != "text":
            options["group"] = data.draw(st.sampled_from([None, names[-1]]))
        sequences = outcome(source_of(kind, path, columns, **options), element)
        if isinstance(sequences, InputError):
            demand_place(sequences, path, 10_000)
            return
        for run in sequences:
            for part in run:
                for value in part if isinstance(part, list) else [part]:
                    assert (
                        abs(value) < float("inf")
                        if element == "numbers"
                        else value.encode() is not None
                    )

    tried(law, effort)


@pytest.mark.parametrize("effort", RANDOM)
def test_lines_are_those_of_every_reader(effort, tmp_path):
    """LF, CRLF and CR end a line, wherever a block ends.

    So it is for text by line, for csv and for JSON lines.
    """

    @given(
        st.lists(st.text(LETTERS, max_size=9), max_size=4),
        st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=4),
    )
    def law(texts, ends):
        lines = [
            re.sub(r"[\r\n\ufeff]", "", line) + end for line, end in zip(texts, ends, strict=False)
        ]
        content = "".join(lines)
        path = write(tmp_path, "file", content.encode())
        expected = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)", content)
        assert list(files.lines(path, "utf-8")) == expected
        runs = outcome(source_of("text", path, [], each="line"), "text")
        assert ["".join(run) for run in runs] == expected

    tried(law, effort)
