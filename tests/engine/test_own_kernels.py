"""Kernels are code: none is loaded that another user could have written."""

from __future__ import annotations

import pytest

from recurra.engine import build
from recurra.errors import Unkept

SOURCE = "int answer(void) { return 42; }"


@pytest.mark.parametrize("what", ["", ".so", ".sha256"])
def test_a_kernel_that_others_can_write_is_never_loaded(what, tmp_path, monkeypatch):
    """Folder, library and checksum are this user's alone; else it is built anew, and not kept."""
    folder = tmp_path / "kernels"
    monkeypatch.setattr(build, "kernel_folder", lambda: folder)
    name, other = "0" * 32, "1" * 32
    build._alone(name, SOURCE, "a test")
    assert folder.stat().st_mode & 0o777 == 0o700
    loaded = build._on_disk(name)
    assert loaded is not None and loaded.answer() == 42

    path = folder / f"{name}{what}" if what else folder
    path.chmod(path.stat().st_mode | 0o020)
    assert build._on_disk(name) is None
    if not what:
        with pytest.warns(Unkept, match="others can write"):
            assert build._built(other, SOURCE, "a test").answer() == 42
        assert not (folder / f"{other}.so").exists()
