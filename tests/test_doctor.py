"""The doctor finds what is wrong with the plugins that are installed, says how to mend it, and lets
sound ones be.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sites import BROKEN, CELL, Site, hook
from terminal import Ended, command, process

from recurra import doctor
from recurra.catalog import discover
from recurra.doctor import Finding, examine
from recurra.testing import certificate
from recurra.testing.records import Report


def about(name: str, findings: list[Finding]) -> list[Finding]:
    """Return the findings about something."""
    return [finding for finding in findings if finding.about == name]


def doctored(site: Site) -> Ended:
    """Run the doctor in a process of its own."""
    return process("plugins", "doctor", "--json", path=site.path)


@pytest.mark.slow  # with new plugins beside it, it is by default
def test_what_comes_with_recurra_is_sound() -> None:
    """Nothing is wrong with what is installed here, and the last line counts it."""
    ended = process("plugins", "doctor").tidy(0)
    assert ended.out.splitlines()[-1].endswith(": 0 faults, 0 notes") and not ended.err


def test_a_sound_plugin_has_no_fault(sound: Site) -> None:
    """A plugin that keeps the rules is only told that nobody has proved it."""
    report = examine()
    assert report.faults == []
    (note,) = about("sound 1.0", report.notes)
    assert "no certificate" in note.fact and "sound/leaky" in note.fact
    assert note.cure == "`recurra plugins check sound/leaky --level full --certify` gives one"


@pytest.mark.parametrize("fault", BROKEN)
def test_what_did_not_load_is_a_fault(sound: Site, fault: str) -> None:
    """Whatever keeps a plugin from loading is told once, with its reason, and nobody else is
    blamed.
    """
    text, status, words = BROKEN[fault]
    sound.add("broken", text)
    report = examine()
    (found,) = report.faults
    assert found.about == "broken 1.0" and words in found.fact
    assert "RECURRA_PLUGINS_BLOCK=broken" in found.cure
    assert (status == "incompatible") == ("install a release of broken for API 1" in found.cure)


def test_a_damaged_distribution_is_a_fault(sound: Site) -> None:
    """A list of entry points that cannot be read is told of the distribution that has it."""
    sound.add("damaged", "")
    (sound.path / "damaged-1.0.dist-info" / "entry_points.txt").write_text(
        "[recurra.plugins]\nno equals sign\n"
    )
    (found,) = examine().faults
    assert found.about == "damaged 1.0" and "did not load (invalid)" in found.fact


def test_strictness_does_not_stop_the_doctor(sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under RECURRA_PLUGINS_STRICT=1 a broken plugin is a finding all the same, and the others are
    looked at.
    """
    sound.add("broken", "1 / 0")
    sound.add("other", hook(module="absent_cell"))
    monkeypatch.setenv("RECURRA_PLUGINS_STRICT", "1")
    assert {found.about for found in examine().faults} == {"broken 1.0", "other 1.0", "cell leaky"}


def test_a_newer_minor_version_is_a_note(sound: Site) -> None:
    """A component that was written for a later API of the same major version may work, and may
    not.
    """
    sound.write("sound_cell", CELL)
    sound.add("newer", hook('offer("drip", api="1.7")'))
    report = examine()
    assert report.faults == []
    (note,) = [note for note in about("newer 1.0", report.notes) if "certificate" not in note.fact]
    assert (
        "plugin API 1.7, and this recurra has 1.2" in note.fact and "upgrade recurra" in note.cure
    )


@pytest.mark.parametrize("api", ["1", "1.x", "1.0.0", "1."])
def test_an_api_that_is_no_version_is_a_fault(sound: Site, api: str) -> None:
    """What cannot be compared is told."""
    sound.add("vague", hook(f'offer("drip", api="{api}")'))
    (found,) = examine().faults
    assert found.about == "vague 1.0" and repr(api) in found.fact


def test_a_name_of_two_is_a_fault(sound: Site) -> None:
    """A name that two distributions offer is told once, with both, and with both ways to write
    it.
    """
    sound.add("other", hook())
    (found,) = examine().faults
    assert found.about == "cell leaky"
    assert "other 1.0 and sound 1.0 offer it" in found.fact
    assert '"other/leaky" or "sound/leaky"' in found.cure


def test_one_name_in_two_kinds_is_none(sound: Site) -> None:
    """A kind and a name together mean a component."""
    sound.write("sound_loss", LOSS)
    sound.add(
        "other",
        hook(
            'offer("leaky", kind="loss", target="sound_loss:Late",'
            ' options="sound_loss:LateOptions")'
        ),
    )
    assert examine().faults == []


def test_a_name_that_recurra_has_is_a_note(sound: Site) -> None:
    """`lstm` means recurra's; whoever offers another is told how it is reached."""
    sound.add("other", hook('offer("lstm")'))
    report = examine()
    assert report.faults == []
    (note,) = about("cell lstm", report.notes)
    assert "always means recurra's" in note.fact and '"other/lstm"' in note.cure


SLEEPS = "import time\ntime.sleep({seconds})\n"


def test_a_slow_plugin_is_a_fault(sound: Site) -> None:
    """What takes longer than its share of every command is told, with how long it takes."""
    sound.add("slow", SLEEPS.format(seconds=0.2) + hook('offer("drip")'))
    (found,) = doctored(sound).tidy(1).last["findings"][:1]
    assert found["about"] == "slow 1.0" and found["fault"]
    assert 200 <= int(found["fact"].split(" takes ")[1].split(" ms")[0]) < 2000


def test_a_busy_machine_is_nobodys_fault(sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that was slow once is measured again in a process of its own, and the better time
    counts.
    """
    text = "import os, time\nif not os.environ.get('QUICK'):\n    time.sleep(0.2)\n"
    sound.add("unlucky", text + hook('offer("drip")'))
    catalog = discover()
    monkeypatch.setenv("QUICK", "1")
    monkeypatch.setattr(doctor, "discover", lambda **policy: catalog)
    monkeypatch.setattr(doctor, "SLOW", 150.0)
    assert examine().faults == []


@pytest.mark.slow  # that it is told in a list is tried by default
def test_torch_at_listing_is_a_fault(sound: Site) -> None:
    """A plugin that imports torch when it is listed is told, and only that one."""
    sound.add("heavy", "import torch\n" + hook('offer("drip")'))
    faults = [found for found in doctored(sound).tidy(1).last["findings"] if found["fault"]]
    assert {found["about"] for found in faults} == {"heavy 1.0"}
    assert "it imports torch when it is listed" in faults[0]["fact"]


@pytest.mark.parametrize(
    ("text", "words"), [("print('hi')\n" + hook('offer("drip")'), "printed"), ("", "offers no")]
)
def test_a_plugin_that_is_not_only_data(sound: Site, text: str, words: str) -> None:
    """One that prints when it is listed, or offers nothing, is told what its module should do."""
    sound.add("odd", text)
    (found,) = examine().faults
    assert found.about == "odd 1.0" and words in found.fact
    assert (
        found.cure == "the module odd_plugin should offer components, as data, and do nothing else"
    )


LOSS = """
from recurra import Loss, Options

class LateOptions(Options):
    pass

class Late(Loss):
    def forward(self, output, target):
        return (output - target).abs().mean(-1)
"""

LIES = {
    "no such module": (hook(module="absent_cell"), CELL, "No module named 'absent_cell'"),
    "no such class": (
        hook(),
        CELL.replace("class Leaky(", "class Other("),
        "has no attribute 'Leaky'",
    ),
    "leaves on import": (hook(), "raise SystemExit(3)", "SystemExit: 3"),
    "options are no Options": (
        hook(),
        CELL.replace("(CellOptions)", ""),
        "not a subclass of recurra.CellOptions",
    ),
    "options of another kind": (
        hook(),
        CELL.replace("CellOptions", "Options"),
        "of recurra.CellOptions",
    ),
    "a function for a class": (
        hook(),
        CELL + "\nLeaky = print\n",
        "is not a subclass of recurra.Cell",
    ),
    "a loss for a cell": (
        hook('offer("leaky", target="sound_loss:Late")'),
        CELL,
        "is not a subclass of recurra.Cell",
    ),
    "no step": (hook(), CELL.replace("def step", "def stride"), "Leaky does not define step"),
    "lacks what nobody knows": (hook('offer("leaky", lacks=("wings",))'), CELL, "lacks 'wings'"),
    "claims what nobody knows": (hook('offer("leaky", claims=("speed",))'), CELL, "claims 'speed'"),
    "waives what is no check": (
        hook('offer("leaky", waivers={"X99": "so"})'),
        CELL,
        "names check 'X99'",
    ),
    "waives without a reason": (
        hook('offer("leaky", waivers={"C24": " "})'),
        CELL,
        "gives no reason",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_component_that_is_not_what_it_says(site: Site, lie: str) -> None:
    """What is declared and is not there, or is something else, is found before a task uses it."""
    text, cell, words = LIES[lie]
    site.write("sound_cell", cell)
    site.write("sound_loss", LOSS)
    site.add("lying", text)
    (found,) = examine().faults
    assert found.about == "lying 1.0" and words in found.fact and "leaky" in found.fact
    assert found.cure


# variables


@pytest.mark.parametrize("variable", ["RECURRA_PLUGINS", "RECURRA_PLUGINS_BLOCK"])
def test_a_variable_that_names_nothing(
    sound: Site, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A misspelt name in a variable allows, or keeps out, nothing: it is told, and no other."""
    sound.add("other", hook('offer("drip")'), entry="short")
    monkeypatch.setenv(variable, "Sound, shrt,short , ,")
    faults = about(variable, examine().faults)
    assert [found.fact.split("'")[1] for found in faults] == ["shrt"]


def test_a_blocked_plugin_is_a_note(sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept out on purpose is no fault, whatever is wrong with it, and its code does not
    run.
    """
    sound.add("broken", "raise SystemExit('it ran')")
    monkeypatch.setenv("RECURRA_PLUGINS_BLOCK", "broken")
    report = examine()
    assert report.faults == []
    (note,) = about("broken 1.0", report.notes)
    assert "RECURRA_PLUGINS_BLOCK" in note.fact


# certificates


def certify(*verdicts: str) -> Path:
    """Write a certificate for the cell `leaky` that says these checks failed."""
    (entry,) = [entry for entry in discover().entries if entry.component.name == "leaky"]
    path = certificate.write(entry, Report({}, "full", (), 0, (), 0, 0.0, "2", 0))
    given = json.loads(path.read_text())
    given["cell/leaky"]["failed"] = list(verdicts)
    path.write_text(json.dumps(given))
    return path


def test_a_proved_component_has_no_note(sound: Site) -> None:
    """With a certificate of the code as it is, nothing is left to say."""
    certify()
    assert about("sound 1.0", [*examine().findings]) == []


def test_a_stale_certificate_is_a_note(sound: Site) -> None:
    """A certificate that was given to other code does not count, and is no fault."""
    certify()
    sound.write("sound_cell", CELL + "\n# changed\n")
    report = examine()
    assert report.faults == []
    (note,) = about("sound 1.0", report.notes)
    assert "given to other code, or by an earlier suite: sound/leaky" in note.fact


def test_a_failed_check_is_a_fault(sound: Site) -> None:
    """A component whose own certificate says that it breaks the contract is told, with the
    checks.
    """
    certify("C02", "C07")
    (found,) = examine().faults
    assert (
        found.about == "sound 1.0" and "fails C02 C07" in found.fact and "explain C02" in found.cure
    )


# the command


def test_the_command_counts_and_fails(sound: Site) -> None:
    """Faults come first, each with its cure; the last line counts; exit code 1 with nothing on
    stderr.
    """
    sound.add("broken", "1 / 0")
    ended = command("plugins", "doctor").tidy(1)
    *lines, last = ended.out.splitlines()
    assert lines[0].startswith(
        "fault: broken 1.0: it did not load (import error): ZeroDivisionError"
    )
    notes = [line for line in lines[2::2] if line.startswith("note: ")]
    assert len(lines) == 2 + 2 * len(notes) and any(
        note.startswith("note: sound 1.0: ") for note in notes
    )
    assert all(line.startswith("  to mend it: ") for line in lines[1::2])
    assert (
        last.endswith(f"components: 1 fault, {len(notes)} note{'s' * (len(notes) > 1)}")
        and not ended.err
    )


def test_json_is_one_line(sound: Site) -> None:
    """With --json the findings and their counts are one object, and a plugin's own output does not
    spoil it.
    """
    sound.add("loud", "print('hello')\n" + hook('offer("drip")'))
    ended = command("plugins", "doctor", "--json").tidy(1)
    assert len(ended.out.splitlines()) == 1
    found = ended.last
    assert found["faults"] == sum(finding["fault"] for finding in found["findings"]) == 1
    assert found["notes"] == len(found["findings"]) - 1
    assert found["plugins"] == len(discover().plugins)
