"""The command, a face of the contract suite, gives the same checks and verdicts."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from leaky_plugin import HIDING, HOOK, LEAKY
from terminal import command, process

from recurra.testing.check import SUITE
from recurra.testing.suite import PRESCRIBED, all_checks


@pytest.fixture
def leaky(tmp_path: Path) -> Callable[..., Path]:
    """Write a local plugin file."""

    def write(more: str = "", after: str = "") -> Path:
        file = tmp_path / "leaky.py"
        file.write_text(LEAKY + after + HOOK.format(module="leaky", more=more), encoding="utf-8")
        return file

    return write


def test_the_command_prints_each_check(leaky: Callable[..., Path]) -> None:
    """A line for each check with what was measured and its bound, and a last line that counts."""
    done = command(
        "plugins", "check", "leaky", "--file", leaky(), "-k", "P02,C02", "-k", "C17"
    ).tidy(0)
    first, *lines, last = done.out.splitlines()
    assert 'cell "leaky"' in first and f"suite {SUITE} core" in first and "seed 0" in first
    assert [line.split()[0] for line in lines] == ["P02", "C02", "C17"]
    assert "PASS" in lines[1] and "(" in lines[1]
    assert last.startswith(
        " 3 checks: 1 pass, 2 n/a (it is a local file or folder, which only its own task loads:"
        " P02; it is not"
    )


def test_the_command_says_what_failed(leaky: Callable[..., Path]) -> None:
    """A broken law ends the command with 1, and names its options and where to read on."""
    done = command(
        "plugins", "check", "leaky", "--file", leaky(after=HIDING), "-k", "C10,C20"
    ).tidy(1)
    (line,) = [line for line in done.out.splitlines() if line.startswith(" C10")]
    assert "FAIL" in line and line.endswith(
        "under hidden_size = 8   -> recurra plugins explain C10"
    )
    assert " 2 checks: 1 pass, 1 fail " in done.out


def test_the_command_gives_records(leaky: Callable[..., Path]) -> None:
    """With --json, one object on the last line: each report whole, and whether all is well."""
    file = leaky(after=HIDING)
    data = (
        command("plugins", "check", "leaky", "--file", file, "-k", "C10,C20", "--json").tidy(1).last
    )
    assert data["ok"] is False
    (report,) = data["reports"]
    assert (
        report["component"]["name"] == "leaky" and report["suite"] == SUITE and report["seed"] == 0
    )
    assert {record["id"]: record["verdict"] for record in report["records"]} == {
        "C10": "FAIL",
        "C20": "PASS",
    }
    assert report["counts"] == {"PASS": 1, "FAIL": 1}


def test_the_command_fails_if_checks_were_lost(
    leaky: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run in which everything passed, but little ran, is not good."""
    from recurra.testing import suite

    every = all_checks()
    monkeypatch.setattr(suite, "CHECKS", {id: every[id] for id in ("P01", "C20")})
    done = command("plugins", "check", "leaky", "--file", leaky()).tidy(1)
    assert f"only 2 of the {PRESCRIBED['cell'][0]} checks that are prescribed ran" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["leeky"], 2, ["RC020", "leeky"]),
        (["lstm", "--kind", "encoder"], 2, ["RC020", "no encoder called 'lstm'", "is a cell"]),
        (["lstm", "--kind", "cel"], 2, ["RC080", "did you mean: cell"]),
        (["lstm", "--level", "deep"], 2, ["RC080", "core, full"]),
        (["lstm", "-k", "C99"], 2, ["RC080", "C99"]),
        (["lstm", "--file", "no_such_file.py"], 2, ["RC001", "no_such_file.py"]),
    ],
)
def test_the_command_tells_what_it_does_not_know(
    arguments: list[str], code: int, words: list[str]
) -> None:
    """A wrong name, option or file ends with 2, in words."""
    command("plugins", "check", *arguments).fails(code, *words)


def test_a_component_that_cannot_be_imported_ends_with_3(leaky: Callable[..., Path]) -> None:
    """Its plugin lists it, but its code fails: nothing could be checked."""
    file = leaky()
    file.write_text(
        file.read_text(encoding="utf-8").replace('"leaky:Leaky"', '"leaky:Loose"'), encoding="utf-8"
    )
    command("plugins", "check", "leaky", "--file", file).fails(3, "RC070", "Loose")
    file = leaky(more=', waivers={"C02": "so be it"}')
    command("plugins", "check", "leaky", "--file", file).fails(3, "RC071", "cannot be waived")


def test_a_name_of_several_kinds_means_all_of_them(tmp_path: Path) -> None:
    """Each component of the name is examined, or the one of the kind that is named."""
    file = tmp_path / "leaky.py"
    hook = (
        HOOK.format(module="leaky", more="")[:-2]
        + ', Component("loss", "leaky", "leaky:Right", "leaky:Plain", "right")]\n'
    )
    right = textwrap.dedent('''
        from recurra import Loss, Options


        class Plain(Options):
            """Options of the loss: none."""


        class Right(Loss[Plain]):
            """The squared error."""

            reads = ("numbers",)

            def forward(self, output, target):
                return (output - target).square().mean(-1)
    ''')
    file.write_text(LEAKY + right + hook, encoding="utf-8")
    both = command("plugins", "check", "leaky", "--file", file, "-k", "P01", "--json").tidy(0).last
    assert [report["component"]["kind"] for report in both["reports"]] == ["cell", "loss"]
    one = (
        command(
            "plugins", "check", "leaky", "--file", file, "-k", "L01", "--kind", "loss", "--json"
        )
        .tidy(0)
        .last
    )
    assert [report["component"]["kind"] for report in one["reports"]] == ["loss"]


@pytest.mark.parametrize("id", ["C02", "c07", "P04", "E02"])
def test_a_check_explains_itself(id: str) -> None:
    """`explain` prints the law, whom it binds and how to mend; of errors it speaks as before."""
    said = command("plugins", "explain", id).tidy(0).out
    check = all_checks()[id.upper()]
    assert said.startswith(f"{id.upper()}: {check.title} (every ")
    assert ("cannot be waived" in said) == check.firm
    assert check.text in said


def test_an_unknown_code_is_told() -> None:
    """What is neither an error nor a check gets the nearest that is."""
    command("plugins", "explain", "C99").fails(2, "RC080", "C19")
    assert command("plugins", "explain", "RC011").tidy(0).out.startswith("RC011: ")


@pytest.mark.slow
def test_the_command_needs_no_pytest(leaky: Callable[..., Path], tmp_path: Path) -> None:
    """Where pytest is not installed, the command works."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "pytest.py").write_text(
        "raise ImportError('there is no pytest here')\n", encoding="utf-8"
    )
    done = process(
        "plugins",
        "check",
        "leaky",
        "--file",
        leaky(),
        "-k",
        "C02,C20",
        "--json",
        path=tmp_path / "hidden",
    )
    assert done.tidy(0).last["reports"][0]["counts"] == {"PASS": 2}


def test_json_is_all_that_goes_to_stdout(leaky: Callable[..., Path]) -> None:
    """A component that prints does not spoil the object."""
    chatty = HIDING.replace("self.steps += 1", "print('step')").replace("1e-3 * self.steps", "0")
    done = command(
        "plugins", "check", "leaky", "--file", leaky(after=chatty), "-k", "C02", "--json"
    ).tidy(0)
    assert json.loads(done.out)["ok"] is True
