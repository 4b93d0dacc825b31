"""The tasks that come with recurra: every one resolves, and `new` copies one whole or not at
all.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from recurra.errors import InputError
from recurra.resolve import resolve
from recurra.spec import shipped

NAMES = sorted(shipped.tasks())


def test_the_list_is_the_folder() -> None:
    """Every file of the tasks folder is listed, with a sentence that says what it does."""
    assert {path.stem for path in shipped.folder().glob("*.toml")} == set(NAMES) >= {"hello_lstm"}
    assert all(
        summary.endswith(".") and len(summary) <= 120 for summary in shipped.tasks().values()
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_task_is_copied_whole_and_resolves(tmp_path: Path, name: str) -> None:
    """A copy has the same bytes, resolves where it lies to the same task, and brings the data that
    it names.
    """
    written = shipped.copy(name, tmp_path)
    assert written[0] == tmp_path / f"{name}.toml"
    assert [path.read_bytes() for path in written] == [
        (shipped.folder() / path.name).read_bytes() for path in written
    ]
    here, there = resolve(written[0]).tables(), resolve(shipped.folder() / f"{name}.toml").tables()
    for tables, folder in ((here, tmp_path), (there, shipped.folder())):
        if "path" in tables["source"]:
            path = Path(tables["source"].pop("path"))
            assert path.is_file() and path.parent == folder
    assert here == there


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_task_says_which_language_it_is_in(name: str) -> None:
    """Every shipped task names the version of the language, so that it outlives it."""
    assert (
        tomllib.loads((shipped.folder() / f"{name}.toml").read_text(encoding="utf-8"))["schema"]
        == 1
    )


def test_the_suffix_may_be_given(tmp_path: Path) -> None:
    """A name with .toml is the same name."""
    assert shipped.copy("hello_lstm.toml", tmp_path) == [tmp_path / "hello_lstm.toml"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A file that is already there is kept, and refused by name."""
    (tmp_path / "hello_lstm.toml").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        shipped.copy("hello_lstm", tmp_path)
    assert (
        caught.value.problems[0].code == "RC080"
        and "hello_lstm.toml" in caught.value.problems[0].fact
    )
    assert (tmp_path / "hello_lstm.toml").read_text(encoding="utf-8") == "mine"


def test_data_that_two_tasks_read_is_copied_once(tmp_path: Path) -> None:
    """The second task goes beside the first and its data; data of the same name that differs is
    refused, and kept.
    """
    assert [path.name for path in shipped.copy("digits", tmp_path)] == [
        "digits.toml",
        "digits.jsonl.gz",
    ]
    assert [path.name for path in shipped.copy("digits_pixels", tmp_path)] == ["digits_pixels.toml"]

    (tmp_path / "digits.toml").unlink()
    (tmp_path / "digits.jsonl.gz").write_bytes(b"mine")
    with pytest.raises(InputError) as caught:
        shipped.copy("digits", tmp_path)
    assert (
        caught.value.problems[0].code == "RC080"
        and "digits.jsonl.gz" in caught.value.problems[0].fact
    )
    assert [path.name for path in tmp_path.glob("digits.*")] == ["digits.jsonl.gz"]
    assert (tmp_path / "digits.jsonl.gz").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("name", "close"), [("hello_lstn", "hello_lstm"), ("helo_gru", "hello_gru"), ("zzz", "")]
)
def test_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path, name: str, close: str) -> None:
    """An unknown name is refused with all names and the nearest, and writes nothing."""
    with pytest.raises(InputError) as caught:
        shipped.copy(name, tmp_path)
    (problem,) = caught.value.problems
    assert (problem.code, problem.nearest) == ("RC020", close) and "hello_lstm" in problem.allowed
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A folder that cannot be written is an error of the folder, not a traceback."""
    with pytest.raises(InputError) as caught:
        shipped.copy("hello_lstm", tmp_path / "nowhere")
    assert caught.value.problems[0].code == "RC050"
