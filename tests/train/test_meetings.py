"""Processes that are started again in one launch, and what a run says of how many trained it."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.distributed import HashStore

from recurra import attribution
from recurra.job.describe import gone_on
from recurra.meeting import met
from recurra.runs.folder import RunFolder
from recurra.train import interrupt


def test_a_meeting_is_none_of_before() -> None:
    """In one store, at sizes that come again, beside words of processes that are gone."""
    store: Any = HashStore()
    store.set("recurra/here/2/1", "gone")
    store.set("recurra/here/3/2", "gone")
    names = []
    with ThreadPoolExecutor(3) as pool:
        for size in (2, 1, 2, 3, 2, 3):
            told = list(pool.map(lambda rank, of=size: met(store, rank, of, 20.0), range(size)))
            assert len(set(told)) == 1
            names.append(told[0])
    assert len(set(names)) == len(names)


def test_who_does_not_come_to_a_meeting_is_told() -> None:
    """By rank, where what a dead process has said is there."""
    store: Any = HashStore()
    store.set("recurra/here/3/2", "gone")
    with pytest.raises(RuntimeError, match=r"nothing was heard of 1, 2 for"):
        met(store, 0, 3, 0.1)


def test_a_run_says_how_many_have_trained_it(tmp_path: Path) -> None:
    """From the step on at which they were others, and of no update that was dropped."""
    folder = RunFolder(tmp_path)
    (tmp_path / "environment.json").write_text('{"paths": ["eager"], "processes": 2}')
    (tmp_path / "hashes.json").write_text("{}")

    class Records:
        """The records of a run, without hashes."""

        environment = folder.records.environment

        def amend(self, name: str, text: str) -> None:
            (tmp_path / name).write_text(text)

    told: Any = SimpleNamespace(path=tmp_path, records=Records())

    def since() -> dict[str, int]:
        return folder.records.environment().processes_since

    assert gone_on(told, 5, 2) == [] and since() == {}
    assert gone_on(told, 9, 1) == ["from step 9 on: 1 process, before 2"]
    assert gone_on(told, 20, 1) == [] and since() == {"9": 1}
    assert gone_on(told, 100, 3) == ["from step 100 on: 3 processes, before 1"]
    assert since() == {"9": 1, "100": 3}
    assert gone_on(told, 50, 1) == [] and since() == {"9": 1}
    assert gone_on(told, 9, 2) == [] and since() == {}


@pytest.mark.parametrize(
    ("signals", "alone", "leads", "ends"),
    [
        ([2, 2], True, False, True),
        ([2, 15], False, True, True),
        ([2, 15], False, False, False),
        ([15, 15], False, True, False),
    ],
)
def test_a_second_request_ends_at_once_where_it_is_one(
    signals: list[int], alone: bool, leads: bool, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not what a terminal and a launcher, or a cluster and a launcher, say of the first."""
    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(interrupt, "world", lambda: SimpleNamespace(size=1 if alone else 2))
    monkeypatch.setattr(interrupt, "_leads_session", lambda: leads)
    ended = False
    with interrupt.listening() as request:
        try:
            for number in signals:
                os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            ended = True
        assert request()
    assert ended == ends
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class First:
    """A component of this file."""


class Second:
    """Another one."""

    def fail(self) -> None:
        """Fail in a function of neither."""
        helping()


def helping() -> None:
    """Fail."""
    raise ValueError("no")


def test_the_component_whose_class_was_in_it_is_blamed() -> None:
    """Of several of one file."""
    plugin = SimpleNamespace(distribution="file:both.py", version="1")
    used = [
        SimpleNamespace(
            entry=SimpleNamespace(
                target=target,
                plugin=plugin,
                qualified=f"both/{target.__name__}",
                component=SimpleNamespace(kind="cell"),
            )
        )
        for target in (First, Second)
    ]
    for order in (used, used[::-1]):
        resolved: Any = SimpleNamespace(used=order)
        with pytest.raises(Exception, match="cell both/Second"), attribution.blaming(resolved):
            Second().fail()
