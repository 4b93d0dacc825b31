"""`recurra bench`: which cases it measures, what it prints, and how it ends."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
import torch
from machines import MACHINE
from terminal import command

from recurra.bench import records, suite
from recurra.bench.records import SHAPES, Case, Finding, Rivals, Setting, Shape, Skipped
from recurra.errors import InputError
from recurra.train.interrupt import end


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny shapes, and a machine that is not measured."""
    for name in SHAPES:
        monkeypatch.setitem(records.SHAPES, name, Shape(2, 3, 4))
    monkeypatch.setattr(suite, "examined", lambda: MACHINE)


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three cases: one that fails, one that is skipped, one that is well."""

    def broken(shape: Shape, setting: Setting) -> Finding:
        raise ValueError("it broke")

    def skipped(shape: Shape, setting: Setting) -> Finding:
        raise Skipped("no room")

    def well(shape: Shape, setting: Setting) -> Finding:
        return Finding([1.0] * setting.pairs, [3.0] * setting.pairs, flops=1e8, path="eager")

    made = [("broken", broken), ("skipped", skipped), ("well", well)]
    cases = [
        Case(row, what, "", "speed", 4.0, measure) for row, (what, measure) in enumerate(made, 1)
    ]
    monkeypatch.setattr(suite, "CASES", cases)
    monkeypatch.setattr(records, "Load", Others)


class Others:
    """A machine that others keep busy."""

    def foreign(self) -> float:
        return 0.9


def test_every_row_has_a_case() -> None:
    """Rows 1 to 17, 20 and 21 are all there, in order, and none twice at one shape."""
    rows = [case.row for case in suite.CASES]
    assert rows == sorted(rows) and set(rows) == {*range(1, 18), 20, 21}
    assert len({(case.row, case.what, case.shape) for case in suite.CASES}) == len(suite.CASES)
    assert {case.shape for case in suite.CASES if case.shape} <= Setting(MACHINE).shapes.keys()


def test_rows_and_shapes_choose() -> None:
    """Both narrow what is measured; a row without the four shapes is measured whatever they are."""
    every = suite.chosen(None, None)
    assert every == [case for case in suite.CASES if case.row <= 12 or case.row == 20]
    beside = suite.chosen(None, None, Rivals({"jax": Path("python")}))
    assert {case.row for case in beside} == {*range(1, 16), 20, 21}
    assert {case.row for case in suite.chosen("13", None)} == {13}
    assert [case.row for case in suite.chosen("16", "D")] == [16] * (2 + len(suite.OWN))
    assert {case.row for case in suite.chosen("17", None)} == {17}  # what takes long is asked for
    assert suite.chosen("1,4,7", None) == [case for case in every if case.row in (1, 4, 7)]
    assert {case.shape for case in suite.chosen("1, 2", "S,M")} == {"S", "M"}
    assert {case.row for case in suite.chosen(None, "D")} == {1, 2, 3, 4, 6, 8, 9, 11, 12, 20}
    assert [case.what for case in suite.chosen("12", "D")] == [
        "recurra --help",
        "recurra plugins list",
    ]


@pytest.mark.parametrize(
    ("rows", "shapes", "words"),
    [
        ("18", None, ["--rows", "'18'", "1, 2, 3"]),
        ("1,x", None, ["--rows", "'x'"]),
        ("", None, ["--rows", "''"]),
        ("01", None, ["--rows", "'01'"]),
        (None, "S,Q", ["--shapes", "'Q'", "D, S, M, L"]),
        (None, "s", ["--shapes", "'s'"]),
        ("7", "D", ["rows 7 are not measured at D", "--shapes S,M"]),
    ],
)
def test_what_there_is_not_is_refused(
    rows: str | None, shapes: str | None, words: list[str]
) -> None:
    """A row or shape that does not exist is named, with those that do, before anything is
    measured.
    """
    with pytest.raises(InputError) as caught:
        suite.chosen(rows, shapes)
    assert all(word in str(caught.value) for word in words)
    options = [
        part
        for name, given in (("--rows", rows), ("--shapes", shapes))
        if given
        for part in (name, given)
    ]
    if options:
        command("bench", *options).fails(2, "RC080")


@pytest.mark.parametrize("option", [("--pairs", "0"), ("--threads", "0"), ("--pairs", "x")])
def test_a_number_out_of_range_is_refused(option: tuple[str, str]) -> None:
    """Neither no pair nor no thread can be asked for."""
    found = command("bench", *option, "--json").tidy(2)
    assert found.last["exit_code"] == 2 and option[0] in found.err


def test_the_table_has_a_line_for_each_case() -> None:
    """Each case is told as it comes, and again in the table: ratio, floor, spread, share, others
    and path.
    """
    told = (
        command("bench", "--rows", "2", "--shapes", "S,M", "--pairs", "1").tidy(0).out.splitlines()
    )
    assert told[0].startswith("a processor, 1 thread; torch 2")
    assert [
        re.match(r"row +2  rnn / nn\.RNN at ([SM]): [\d.]+x", line)[1] for line in told[2:4]
    ] == ["S", "M"]
    assert told[4].split()[:4] == ["row", "what", "shape", "ratio"]
    for line, shape in zip(told[5:], "SM", strict=True):
        assert re.match(
            rf" +2  rnn / nn\.RNN +{shape} B2 T3 H4 +[\d.]+x +[31]x +(yes|no)\?? +[\d.]+ to"
            r" [\d.]+ ",
            line,
        )
        assert re.search(r"\d+ % of products  +([\d.]+ cores)? +[a-z]+ *$", line)


def test_the_records_are_whole() -> None:
    """With --json one object holds the machine, every time of each pair, the path and the floor;
    stdout is it alone.
    """
    ended = command(
        "bench", "--rows", "1,2", "--shapes", "S", "--pairs", "2", "--threads", "1", "--json"
    ).tidy(0)
    assert len(ended.out.splitlines()) == 1 and "row  2" in ended.err
    found = ended.last
    assert found["machine"]["flops"] == 1e9 and found["pairs"] == 2 and found["failed"] == 0
    assert [record["row"] for record in found["records"]] == [1, 2]
    for record in found["records"]:
        ratios = sorted(b / a for a, b in zip(record["ours"], record["other"], strict=True))
        assert record["spread"] == pytest.approx(ratios)
        assert record["value"] == pytest.approx(sum(ratios) / 2)
        assert record["reached"] == (record["value"] >= record["floor"])
        assert record["path"] and record["size"] == "B2 T3 H4"


@pytest.mark.usefixtures("fails")
def test_a_case_that_fails_does_not_take_the_others_with_it() -> None:
    """The reason is printed, the cases after it are measured, and the command ends with 1."""
    out = command("bench", "--pairs", "1").tidy(1).out
    assert "row  1  broken: failed: ValueError: it broke" in out
    assert "row  2  skipped: not measured: no room" in out
    assert "row  3  well: 3.00x, 4x wanted (doubtful: others used 0.9 cores)" in out
    found = command("bench", "--pairs", "1", "--json").tidy(1).last
    assert (found["failed"], found["records"][2]["value"]) == (1, 3.0)


@pytest.mark.usefixtures("fails")
def test_a_floor_that_is_missed_is_no_failure() -> None:
    """What is slow here is told, and so is what cannot be measured; neither ends the command with
    an error.
    """
    out = command("bench", "--rows", "2,3").tidy(0).out
    assert re.search(
        r" 3  well +3\.00x +4x +no\? +3\.00 to 3\.00 +10 % of products +0\.9 cores +eager", out
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_measured_before_an_interruption_is_told(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the table and as JSON; the exit code is that of the signal. Before that nothing is."""

    def stop(shape: Shape, setting: Setting) -> Finding:
        end(number, None)
        raise AssertionError

    def well(shape: Shape, setting: Setting) -> Finding:
        return Finding([1.0], [3.0])

    made = [Case(row, "what", "", "speed", 4.0, well) for row in (1, 2)]
    cases = [*made, Case(3, "stops", "", "s", None, stop), made[0]]
    monkeypatch.setattr(suite, "CASES", cases)
    ended = command("bench")
    assert ended.code == 128 + number
    assert re.findall(r"^ +([12])  what +3\.00x +4x", ended.out, re.MULTILINE) == ["1", "2"]
    ended = command("bench", "--json")
    assert ended.code == 128 + number and ended.last["interrupted"]
    assert [record["value"] for record in ended.last["records"]] == [3.0, 3.0]
    monkeypatch.setattr(suite, "CASES", cases[2:])
    ended = command("bench", "--json")
    assert ended.code == 128 + number and not ended.out


def test_threads_are_as_asked_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A case runs with the threads asked for; afterwards there are as many as before, also when it
    is interrupted.
    """
    seen = []

    def stop(shape: Shape, setting: Setting) -> Finding:
        seen.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "CASES", [Case(1, "what", "", "s", None, stop)])
    assert command("bench", "--threads", "2").code == 130
    assert (seen, torch.get_num_threads()) == ([2], 1)
