"""What is in the cache folder is told, and of it goes what may, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminal import command
from together import beside, together, until

import recurra
from recurra import InputError, Options, Piece, Source, cache, upkeep
from recurra.data.corpus import build
from recurra.engine.timings import KnownTimings, Timings
from recurra_vocabularies.character import Character, CharacterOptions

DAY = upkeep.DAY
NAMES = [f"{number:032x}" for number in range(6)]
OURS = {
    "corpus": ["{0}/about.json", "{0}/made.json", "{0}/starts.npy", "{0}/values.bin"],
    "kernel": ["kernels/{0}.so", "kernels/{0}.sha256", "kernels/{0}.json"],
    "timings": ["paths/{0}.json"],
    "part of a corpus": ["part-{1}/values.bin"],
    "odd corpus": ["part-{1}-odd/values.bin"],
    "corpus cut off": ["{0}/values.bin"],
    "part of a kernel": ["kernels/part-{1}"],
    "kernel cut off": ["kernels/{0}.so"],
    "damaged timings": ["paths/{0}.json"],
    "lock": [".{0}.lock"],
    "lock of measuring": ["paths/.lock"],
}
UNFINISHED = {kind for kind in OURS if kind not in ("corpus", "kernel", "timings")}
FOREIGN = [
    "notes.txt",
    "{0}.txt",
    "{0}/precious.txt",
    "{0}/about.json/deep",
    "kernels/notes.txt",
    "kernels/{0}.py",
    "kernels/{0}/x.so",
    "paths/{0}.txt",
    "part-of-the-family/photo",
    "part-{1}/photo",
    "Paths/{0}.json",
]
AGES = [0.0, 0.5 * upkeep.HOUR, 2 * upkeep.HOUR, 8 * DAY, 31 * DAY]
VERSIONS = ["", recurra.__version__, "0.0.1"]


def lay(folder: Path, files: list[str], number: int, age: float, text: str = "x") -> list[Path]:
    paths = []
    for name in files:
        path = folder / name.format(NAMES[number], f"{number:08d}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        paths.append(path)
    for path in [
        *paths,
        *(path.parent for path in paths if path.parent.name not in ("kernels", "paths")),
    ]:
        if path != folder:
            os.utime(path, times=(time.time() - age,) * 2)
    return paths


def snapshot(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@given(
    ours=st.lists(
        st.tuples(st.sampled_from([*OURS]), st.sampled_from(AGES), st.sampled_from(VERSIONS)),
        max_size=4,
    ),
    foreign=st.lists(st.sampled_from(FOREIGN), max_size=3, unique=True),
    unused=st.sampled_from([0.75 * upkeep.HOUR, 7 * DAY, upkeep.UNUSED]),
    everything=st.booleans(),
)
def test_what_may_go_goes_and_nothing_else(
    ours: Any, foreign: Any, unused: float, everything: bool, tmp_path_factory: Any
) -> None:
    """By a rule written down a second time: kind, age and version decide; what is foreign stays."""
    folder = tmp_path_factory.mktemp("cache") / "cache"
    folder.mkdir()
    goes, stays = set(), set()
    for number, (kind, age, made) in enumerate(ours):
        note = {"recurra": made}
        if kind == "timings":
            note["question"] = {"cell": "c", "torch": ""}
        text = json.dumps(note) if kind in ("corpus", "kernel", "timings") else "no JSON"
        paths = lay(folder, OURS[kind], number, age, text)
        other = made == "0.0.1" and kind != "timings"
        if kind in UNFINISHED:
            gone = age > upkeep.HOUR
        else:
            gone = everything or age > (min(unused, 7 * DAY) if other else unused)
        (goes if gone else stays).update(str(path.relative_to(folder)) for path in paths)
    if "lock of measuring" in [kind for kind, *_ in ours]:
        # Several are one file, of which the last counts.
        last = [age for kind, age, _ in ours if kind == "lock of measuring"][-1]
        (goes if last > upkeep.HOUR else stays).add("paths/.lock")
        (stays if last > upkeep.HOUR else goes).discard("paths/.lock")
    for name in foreign:
        paths = lay(folder, [name], 5, 100 * DAY)
        stays.update(str(path.relative_to(folder)) for path in paths)
    before = snapshot(folder)
    assert {*before} == goes | stays

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECURRA_CACHE", str(folder))
        if foreign and not ours:
            with pytest.raises(InputError, match="nothing that recurra has made"):
                upkeep.listing()
            assert snapshot(folder) == before
            return
        found = upkeep.listing()
        assert found.bytes == sum(
            len(data) for name, data in before.items() if name in goes | stays
        ) - sum(len(before[str(p.relative_to(folder))]) for n in foreign for p in laid(folder, n))
        done = upkeep.prune(found, unused, everything)
    assert snapshot(folder) == {name: before[name] for name in stays}
    assert done.bytes == sum(len(before[name]) for name in goes) and not done.failed
    assert len(found.entries) == len({*map(entry_of, (goes | stays) - names(foreign))})


def laid(folder: Path, name: str) -> list[Path]:
    return [folder / name.format(NAMES[5], f"{5:08d}")]


def names(foreign: list[str]) -> set[str]:
    return {name.format(NAMES[5], f"{5:08d}") for name in foreign}


def entry_of(name: str) -> str:
    """Return what tells the entry of a file."""
    top, _, rest = name.partition("/")
    if top == "kernels":
        return f"{top}/{rest.partition('.')[0] or rest}"
    return name if top == "paths" else top


class Given(Source[Options]):
    """Gives a text."""

    def __init__(self, text: str) -> None:
        super().__init__(Options())
        self.text = text

    def read(self, element: str) -> Iterator[Piece]:
        yield Piece(self.text, True)

    def fingerprint(self) -> str:
        return self.text


def corpus(text: str = "abcabc" * 20) -> Any:
    vocabulary = Character(CharacterOptions())
    identity = "recurra/text@0.1.0 recurra/character@0.1.0"
    return build(Given(text), vocabulary, 8, identity)


def pruned_all() -> upkeep.Pruned:
    return upkeep.prune(upkeep.listing(), everything=True)


def test_an_entry_says_what_made_it_and_what_is_used_is_young() -> None:
    """Source, vocabulary, cell and versions; use makes an entry young, a look does not."""
    corpus()
    asked = {"cell": "my:Cell", "torch": "2.0"}
    timings = Timings(seconds={"eager": 1.0})
    KnownTimings().recall(asked, ["eager"], lambda: timings, lambda: 0.0)
    for path in cache.cache_folder().rglob("*"):
        os.utime(path, times=(time.time() - 40 * DAY,) * 2)
    for _ in range(2):
        one, other = upkeep.listing().entries
        assert one.of == "recurra/text@0.1.0 recurra/character@0.1.0"
        assert (one.kind, one.recurra) == ("corpus", recurra.__version__)
        assert (other.kind, other.of, other.torch) == ("timings", "my:Cell", "2.0")
        assert {round(each.used / DAY) for each in (one, other)} == {40}
    corpus()
    KnownTimings().recall(asked, ["eager"], lambda: timings, lambda: 0.0)
    one, other = upkeep.listing().entries
    assert one.used < DAY and other.used < DAY and round((one.age or 0) / DAY) == 40
    assert not upkeep.prune(upkeep.listing()).removed


def test_what_is_in_use_stays_until_it_is_not(tmp_path: Path) -> None:
    """A corpus that this process or another has open is in use, whatever is asked for."""
    store = corpus()
    assert upkeep.listing().entries[0].in_use
    assert pruned_all() == upkeep.Pruned(in_use=1)
    del store

    def read() -> None:
        kept = corpus()
        (tmp_path / "open").touch()
        time.sleep(1000 + len(kept))

    with beside(read):
        until((tmp_path / "open").exists)
        assert pruned_all() == upkeep.Pruned(in_use=1)
    assert len(pruned_all().removed) == 1 and not upkeep.listing().entries


def test_what_was_removed_can_be_read_on_and_is_made_again() -> None:
    """A folder that somebody deletes by hand is missed by nobody either."""
    store = corpus()
    (entry,) = cache.cache_folder().iterdir()
    shutil.rmtree(entry)
    again = corpus()
    whole = np.arange(0, 120, 5)
    np.testing.assert_array_equal(store.spans(whole, 5), again.spans(whole, 5))
    assert store.fingerprint == again.fingerprint and entry.is_dir()


def test_a_prune_beside_processes_that_work_harms_none() -> None:
    """Some remove all that they may while others encode and read."""
    texts = ["abc" * 20, "abd" * 30]

    def work(number: int) -> int:
        for turn in range(25):
            if number < 2:
                upkeep.prune(upkeep.listing(), everything=True)
            else:
                text = texts[turn % 2]
                store = corpus(text)
                assert len(store.spans(np.arange(0, len(text), 3), 3)) == len(text) // 3
        return 0

    assert together(5, work) == [0] * 5


def test_a_time_to_come_is_set_right(monkeypatch: Any) -> None:
    """What was written while the clock was a year ahead counts from its first prune on."""
    del_me = corpus()
    del del_me
    for path in cache.cache_folder().rglob("*"):
        os.utime(path, times=(time.time() + 365 * DAY,) * 2)
    (entry,) = upkeep.listing().entries
    assert entry.used == 0.0
    upkeep.prune(upkeep.listing())
    now = time.time()
    monkeypatch.setattr(upkeep.time, "time", lambda: now + 31 * DAY)
    later = upkeep.listing()
    assert 30 * DAY < later.entries[0].used < 32 * DAY
    assert len(upkeep.prune(later).removed) == 1


def test_a_link_is_nobodys_entry(tmp_path: Path) -> None:
    """Neither a link in the folder nor what it leads to is touched."""
    folder = cache.cache_folder()
    lay(folder, OURS["timings"], 0, 0, '{"question": {}}')
    outside = tmp_path / "outside"
    lay(outside, OURS["corpus"], 1, 100 * DAY)
    (folder / NAMES[1]).symlink_to(outside / NAMES[1])
    lay(folder, OURS["corpus"], 2, 100 * DAY)
    (folder / NAMES[2] / "codes.bin").symlink_to(outside / NAMES[1] / "values.bin")
    found = upkeep.listing()
    assert [entry.kind for entry in found.entries] == ["timings"] and found.others == 2
    upkeep.prune(found, everything=True)
    assert len(snapshot(outside)) == 4 and (folder / NAMES[1]).is_symlink()


def test_the_command_lists_and_prunes(tmp_path: Path, monkeypatch: Any) -> None:
    """A line an entry, the sum, and in JSON the same; what was freed is told."""
    assert "0 entries" in command("cache").tidy(0).out
    corpus()
    listed = command("cache").tidy(0).out
    assert "recurra/text@0.1.0" in listed and "encoded corpora: 1" in listed
    data = command("cache", "--json").tidy(0).last
    assert data["bytes"] == sum(map(len, snapshot(cache.cache_folder()).values()))
    assert "removed 0 entries" in command("cache", "--prune", "--older-than", "1h").tidy(0).out
    done = command("cache", "--prune", "--all", "--json").tidy(0).last
    assert done["freed"] == data["bytes"] and snapshot(cache.cache_folder()) == {}
    command("cache", "--all").fails(2, "add --prune", "RC080")
    command("cache", "--prune", "--older-than", "soon").fails(2, "12h, 7d, 4w", "RC080")
    (tmp_path / "photo").touch()
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path))
    command("cache", "--prune", "--all").fails(2, "nothing that recurra has made", "RC080")
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path / "photo"))
    command("cache").fails(2, "cannot be read", "RC050")
    assert (tmp_path / "photo").exists()
