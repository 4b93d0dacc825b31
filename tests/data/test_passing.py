"""What a fold makes of data is taken away with it, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from recurra.cache import cache_folder
from recurra.contracts.source import Piece
from recurra.data.corpus import collected
from recurra.data.kept import passing


def stored(offset, key=""):
    """Return a corpus that is kept in a file."""
    return collected(iter([Piece(np.arange(40.0)[:, None] + offset, True)]), key, in_memory=8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path / "cache"))


def folders():
    return {path.name for path in cache_folder().iterdir()}


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_made_in_passing_goes(fails):
    """What was there stays, as does what has a key; the rest goes, also after a failure."""
    stored(0)
    before = folders()
    try:
        with passing():
            stored(0)
            inner = stored(1)
            stored(2, "named")
            with passing():
                stored(3)
                deep = folders()
            assert len(folders()) == len(deep) - 1
            assert len(folders()) == len(before) + 2
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert folders() == before | {"named"}
    # It is open, and nobody misses it.
    np.testing.assert_array_equal(inner.spans(np.array([3]), 2)[0, :, 0], [4.0, 5.0])
    stored(1)
    assert len(folders()) == len(before) + 2
