"""Kernels are built, kept and found again; whatever fails on the way, there is a library or one
reason why not.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from conftest import HELLO
from hand_made import build as cell_of
from terminal import command

from recurra.engine import build, choice, fused, onepass, proof, scan
from recurra.engine.build import Unbuildable, library
from recurra.errors import Unkept

SOURCE = "#include <math.h>\nint answer(void) { return 42; }\n"
ANSWER = f"from recurra.engine.build import library; print(library({SOURCE!r}).answer())"
THREADS = """
#ifdef _OPENMP
#include <omp.h>
#endif
int threads(void) {
    int found = 1;
#ifdef _OPENMP
    _Pragma("omp parallel num_threads(2)") found = omp_get_num_threads();
#endif
    return found;
}
"""
OWN = build.kernel_folder
PATIENT = 300
"""Seconds for which another process is waited for, however busy the machine is."""
CC = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
pytestmark = pytest.mark.skipif(CC is None, reason="these laws are about a compiler that is there")


def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be as a process that has just begun."""
    monkeypatch.setattr(build, "_loaded", {})
    monkeypatch.setattr(build, "_unfit", {})
    monkeypatch.setattr("recurra.cache._warned", set())
    monkeypatch.setattr(fused, "KERNELS", fused.Kernels())
    monkeypatch.setattr(proof, "PROOFS", proof.Proofs())
    onepass._kernels.cache_clear()


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """Nothing built; the folder in which libraries are kept. What is found missing here is sought
    again later.
    """
    monkeypatch.delenv("CC", raising=False)
    # What other tests have built is not here.
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr(build, "kernel_folder", OWN)
    anew(monkeypatch)
    yield tmp_path / "own" / "kernels"
    onepass._kernels.cache_clear()


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The lines of a compiler that writes down how it is called, and then is the real one."""
    log = tmp_path / "calls"
    log.touch()
    monkeypatch.setenv("CC", script(tmp_path, f'echo "$@" >> {log}\nexec {CC} "$@"'))
    return lambda: log.read_text().splitlines()


def script(folder: Path, text: str, name: str = "compiler") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def works() -> bool:
    return library(SOURCE).answer() == 42


def python(code: str, **world: str) -> subprocess.Popen[str]:
    full = os.environ | {"OMP_NUM_THREADS": "1"} | world
    line = [sys.executable, "-W", "error", "-c", code]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=full)


def silence():
    """A block in which nothing at all is said."""
    return warnings.catch_warnings(action="error")


def test_a_library_is_built_once_and_found_by_the_next_process(kept, calls, monkeypatch):
    """One call of the compiler; three files, and no part of one, are left."""
    with silence():
        assert works() and works()
        anew(monkeypatch)
        assert works()
    assert len(calls()) == 1
    assert sorted(file.suffix for file in kept.iterdir()) == [".json", ".sha256", ".so"]


def test_another_source_is_another_library(calls):
    """What is kept answers for its own source alone."""
    assert works()
    assert library(SOURCE.replace("42", "43")).answer() == 43
    assert len(calls()) == 2


@pytest.mark.parametrize("part", [".so", ".sha256"])
@pytest.mark.parametrize(
    "harm",
    {
        "empty": lambda data: b"",
        "truncated": lambda data: data[: len(data) // 2],
        "one bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        "garbage": lambda data: b"\xff\x00garbage" * 10,
    }.items(),
    ids=lambda harm: harm[0],
)
def test_a_file_that_is_not_what_was_written_is_built_again(kept, calls, monkeypatch, part, harm):
    """Neither a library nor its checksum that was changed is trusted, and both are mended."""
    assert works()
    (file,) = kept.glob(f"*{part}")
    data = file.read_bytes()
    file.unlink()  # the library that is loaded is another file
    file.write_bytes(harm[1](data))
    anew(monkeypatch)
    with silence():
        assert works()
    assert len(calls()) == 2
    anew(monkeypatch)
    assert works() and len(calls()) == 2


def test_garbage_with_a_checksum_that_fits_is_built_again(kept, calls, monkeypatch):
    """What passes for whole and cannot be loaded is no library, in a process that has not loaded it
    before.
    """
    assert works()
    for file in kept.glob("*.so"):
        file.unlink()
        file.write_bytes(b"no library")
        file.with_suffix(".sha256").write_text(build._checksum(file.stem, b"no library"))
    assert python(ANSWER).communicate(timeout=PATIENT) == ("42\n", "")
    assert len(calls()) == 2
    anew(monkeypatch)
    with silence():
        assert works()
    assert len(calls()) == 2


def test_the_library_of_another_source_is_not_taken(kept, calls, monkeypatch):
    """Two whole files under another's name answer for nothing."""
    assert works()
    assert library(SOURCE.replace("42", "43")).answer() == 43
    one, other = sorted(file.stem for file in kept.glob("*.so"))
    for part in (".so", ".sha256"):
        a, b = (kept / f"{name}{part}" for name in (one, other))
        first, second = a.read_bytes(), b.read_bytes()
        a.unlink(), b.unlink()
        a.write_bytes(second), b.write_bytes(first)
    anew(monkeypatch)
    with silence():
        assert works() and library(SOURCE.replace("42", "43")).answer() == 43
    assert len(calls()) == 4


@pytest.mark.parametrize("part", [".so", ".sha256"])
def test_a_folder_in_place_of_a_file_is_no_library(kept, monkeypatch, part):
    """It is built in each process then, which is said once; and so it is where nothing may be
    read.
    """
    assert works()
    (file,) = kept.glob(f"*{part}")
    file.unlink()
    (file / "within").mkdir(parents=True)
    anew(monkeypatch)
    with pytest.warns(Unkept) as said:
        assert works()
    assert len(said) == 1


@pytest.mark.parametrize("part", [".so", ".sha256"])
def test_one_file_alone_is_no_library(kept, calls, monkeypatch, part):
    """A process that ended between the two writes leaves nothing that is trusted."""
    assert works()
    for file in kept.glob(f"*{part}"):
        file.unlink()
    anew(monkeypatch)
    assert works() and len(calls()) == 2


@pytest.mark.parametrize("place", ["a file", "/proc/recurra-cache"])
def test_a_folder_that_cannot_be_written_is_told_once_for_all_kernels(tmp_path, monkeypatch, place):
    """One line for any number of libraries, and they work."""
    if place == "a file":
        (tmp_path / "file").touch()
        place = str(tmp_path / "file")
    monkeypatch.setenv("RECURRA_CACHE", place)
    with pytest.warns(
        Unkept, match=f"^{re.escape(place)} cannot be written .*anew in each process$"
    ) as said:
        assert works()
        assert library(SOURCE.replace("42", "7")).answer() == 7
    assert len(said) == 1


def test_kernels_and_figures_share_that_line(tmp_path, monkeypatch):
    """A cell that is compiled and measured says once that nothing can be kept."""
    monkeypatch.delenv("RECURRA_MEASURE")
    (tmp_path / "own").touch()
    with pytest.warns(Unkept) as said:
        cell_of("leaky", 3, 4)(torch.randn(2, 5, 3, dtype=torch.float64))
    assert len(said) == 1


@pytest.mark.parametrize("call", ["fdopen", "replace", "chmod"])
def test_a_full_disk_is_told_in_a_line_and_leaves_no_part_of_a_file(kept, monkeypatch, call):
    """Wherever the write fails, the library works, and neither files nor open handles are left."""

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    def handles() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    before = handles()
    with monkeypatch.context() as patch:
        patch.setattr(build.os, call, full)
        with pytest.warns(Unkept, match="No space left on device") as said:
            assert works()
    assert len(said) == 1 and list(kept.iterdir()) == [] and handles() == before


def test_a_temporary_folder_that_is_not_there_is_a_reason(monkeypatch):
    """With nowhere to compile there is no library, and a reason in one line."""
    monkeypatch.setattr(
        build.tempfile, "TemporaryDirectory", lambda **more: open("/nowhere/at/all")
    )
    with pytest.raises(Unbuildable, match="nothing can be compiled: No such file"):
        works()


@pytest.mark.parametrize("how", ["PATH", "CC", "quotation"])
def test_without_a_compiler_there_is_a_reason(monkeypatch, tmp_path, how):
    """An empty PATH, a CC that is not there, and one that cannot be read are said alike."""
    if how == "PATH":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setenv("CC", "/nonexistent" if how == "CC" else "gcc '-O2")
    with silence(), pytest.raises(Unbuildable, match="^no C compiler was found"):
        works()


def test_what_is_kept_needs_no_compiler(monkeypatch):
    """A warm cache is enough."""
    assert works()
    anew(monkeypatch)
    monkeypatch.setenv("CC", "/nonexistent")
    with silence():
        assert works()


def test_what_another_compiler_has_built_is_not_taken(tmp_path, monkeypatch):
    """One that `CC` names, with what follows it, builds for itself; the one that would be taken
    anyway has what is kept, by whatever name it is called.
    """
    log = tmp_path / "log"
    own = script(tmp_path, f'echo "$1" >> {log}\n[ "$1" = -DX ] && shift\nexec {CC} "$@"')
    assert works()
    for named, told in ((own, 1), (f"{own} -DX", 2), (own, 2), (str(CC), 2), ("/nonexistent", 2)):
        anew(monkeypatch)
        monkeypatch.setenv("CC", named)
        assert works()
        assert len(log.read_text().splitlines()) == told, named


FAILING = {
    "an error": (
        "echo 'kernel.c:1: error: no such thing' >&2; exit 1",
        "fails: kernel.c:1: error: no such thing$",
    ),
    "many lines": ("echo first; echo second >&2; exit 3", "fails: first$"),
    "not a word": ("exit 1", "fails: no reason given$"),
    "a lie": ("exit 0", "fails: no reason given$"),
    "no text": ("printf '\\377\\376 error' >&2; exit 1", "fails: .* error$"),
    "a crash": ("kill -9 $$", "fails: no reason given$"),
    "garbage for a library": (
        'while [ "$1" != "-o" ]; do shift; done; echo garbage > "$2"',
        "a compiled kernel cannot be loaded: ",
    ),
}


@pytest.mark.parametrize("failing", FAILING)
def test_a_compiler_that_fails_is_a_reason_in_one_line(kept, tmp_path, monkeypatch, failing):
    """However it fails, nothing is loaded, nothing is kept, and nothing but the reason is said."""
    text, reason = FAILING[failing]
    monkeypatch.setenv("CC", script(tmp_path, text))
    with silence(), pytest.raises(Unbuildable, match=reason) as found:
        works()
    assert "\n" not in str(found.value)
    assert not kept.exists() or list(kept.iterdir()) == []


def test_a_file_that_is_no_program_is_a_reason(tmp_path, monkeypatch):
    """What cannot be executed is not tried twice."""
    place = tmp_path / "compiler"
    place.write_bytes(b"\x7fELF, but not really")
    place.chmod(0o755)
    monkeypatch.setenv("CC", str(place))
    for _ in range(2):
        with pytest.raises(Unbuildable, match="compiler does not run: "):
            works()


def test_a_compiler_that_hangs_is_ended_with_all_it_started_and_not_asked_again(
    tmp_path, monkeypatch
):
    """Patience is lost once a process; what the compiler has started does not live on."""
    monkeypatch.setattr(build, "PATIENCE", 0.5)
    log, pid = tmp_path / "log", tmp_path / "pid"
    monkeypatch.setenv(
        "CC", script(tmp_path, f"echo called >> {log}\nsleep 100 & echo $! > {pid}\nwait")
    )
    for _ in range(3):
        with (
            silence(),
            pytest.raises(Unbuildable, match="compiler does not come to an end in 0.5 s"),
        ):
            works()
    assert len(log.read_text().splitlines()) == 1
    state = Path(f"/proc/{pid.read_text().strip()}/stat")
    end = time.monotonic() + PATIENT
    while state.exists() and state.read_text().split()[2] != "Z" and time.monotonic() < end:
        time.sleep(0.01)
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_compiler_that_reads_is_given_nothing(tmp_path):
    """It does not wait for what a person may type."""
    process = python(ANSWER, CC=script(tmp_path, f'cat\nexec {CC} "$@"'))
    try:
        assert process.wait(timeout=PATIENT) == 0  # its own input stays open
        assert process.stdout.read() == "42\n"
    finally:
        process.kill()
        process.communicate()


def test_a_compiler_may_have_arguments_and_stand_anywhere(tmp_path, monkeypatch):
    """CC is a command line, and a relative place is one from here."""
    log = tmp_path / "said"
    (tmp_path / "a place").mkdir()
    script(tmp_path / "a place", f'echo "$1" >> {log}\nshift\nexec {CC} "$@"', "compiler")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CC", "'./a place/compiler' --really")
    assert works()
    assert log.read_text().split() == ["--really"]


def test_a_compiler_without_openmp_builds_for_one_thread(tmp_path, monkeypatch):
    """-fopenmp is left out where it is refused, and a scan that asks for two threads has its
    numbers from one.
    """
    refuse = (
        f'case "$*" in *-fopenmp*) echo "error: unsupported option" >&2; exit 1;; esac\nexec {CC}'
        ' "$@"'
    )
    monkeypatch.setenv("CC", script(tmp_path, refuse))
    with silence():
        assert library(THREADS).threads() == 1
    torch.set_num_threads(2)
    case = [torch.randn(3, 40, 500), torch.randn(3, 40, 500), torch.randn(3, 500)]
    h = scan.linear_scan(*case)
    assert onepass._kernels("float") is not None
    monkeypatch.setattr(onepass, "possible", lambda *tensors: False)
    torch.testing.assert_close(h, scan.linear_scan(*case))


def test_flags_of_the_processor_are_left_out_where_they_are_refused(tmp_path, monkeypatch):
    """A compiler that knows no such processor still builds."""
    refuse = f'case "$*" in *=native*) echo "error: bad value" >&2; exit 1;; esac\nexec {CC} "$@"'
    monkeypatch.setenv("CC", script(tmp_path, refuse))
    with silence():
        assert works()


WITHOUT_LOCKS = "from recurra import system; system.fcntl = None; "


def test_two_processes_that_build_at_once_are_both_right(kept, tmp_path, monkeypatch):
    """Where nothing can be locked, each waits until the other compiles too; both answer, and what
    is kept is whole.
    """
    other = (
        f"touch {tmp_path}/at.$$; while [ $(ls {tmp_path}/at.* | wc -l) -lt 2 ]; do sleep 0.01;"
        " done"
    )
    compiler = script(tmp_path, f'{other}\nexec {CC} "$@"')
    both = [python(WITHOUT_LOCKS + ANSWER, CC=compiler) for _ in range(2)]
    for process in both:
        assert process.communicate(timeout=PATIENT) == ("42\n", "")
    assert sorted(file.suffix for file in kept.iterdir()) == [".json", ".sha256", ".so"]
    monkeypatch.setenv("CC", script(tmp_path, "exit 1"))
    with silence():
        assert works()


def test_of_two_processes_that_need_a_kernel_one_compiles_it(kept, tmp_path):
    """The second waits for the first, which the compiler keeps busy until both are there."""
    log, both = tmp_path / "calls", tmp_path / "both"
    until = f"echo called >> {log}; while [ ! -e {both} ]; do sleep 0.01; done"
    compiler = script(tmp_path, f'{until}\nexec {CC} "$@"')
    told = f"from pathlib import Path; from recurra.engine import build; Path({str(tmp_path)!r},"
    told += " 'ready').write_text('yes'); "
    first = python(ANSWER, CC=compiler)
    until_there(log)
    second = python(told + ANSWER, CC=compiler)
    until_there(tmp_path / "ready")
    time.sleep(0.2)
    both.touch()
    for process in (first, second):
        assert process.communicate(timeout=PATIENT) == ("42\n", "")
    assert log.read_text() == "called\n"
    assert sorted(file.suffix for file in kept.iterdir()) == [".json", ".sha256", ".so"]


def test_a_builder_that_was_killed_is_not_waited_for(kept, tmp_path, monkeypatch):
    """What it leaves, a lock and perhaps a part, hinders nobody."""
    log = tmp_path / "calls"
    slow = script(tmp_path, f"echo $$ >> {log}\nsleep 1000")
    first = python(ANSWER, CC=slow)
    until_there(log)
    first.kill()
    first.communicate()
    os.killpg(int(log.read_text()), signal.SIGKILL)
    assert [file.suffix for file in kept.iterdir()] == [".lock"]
    monkeypatch.setenv("CC", script(tmp_path, f'exec {CC} "$@"'))
    begun = time.monotonic()
    with silence():
        assert works()
    assert time.monotonic() - begun < build.PATIENCE / 4
    assert sorted(file.suffix for file in kept.iterdir()) == [".json", ".sha256", ".so"]


def until_there(path: Path) -> None:
    end = time.monotonic() + PATIENT
    while not path.exists() or not path.read_text():
        assert time.monotonic() < end
        time.sleep(0.01)


def gradients(name: str, path: str) -> list[torch.Tensor]:
    cell = cell_of(name, 3, 4)
    cell.path = path
    x = torch.randn(
        2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    y, _ = cell(x)
    return [y, *torch.autograd.grad(y.sin().sum(), [x, *cell.parameters()])]


@pytest.mark.parametrize("compiler", ["/nonexistent", "false", "true"])
def test_a_cell_without_a_compiler_has_the_same_numbers(monkeypatch, compiler):
    """It runs on a slower path, and says why when it is asked, and only then."""
    wanted = gradients("leaky", "auto")
    anew(monkeypatch)
    monkeypatch.setenv("RECURRA_CACHE", os.environ["RECURRA_CACHE"] + "-empty")
    monkeypatch.setenv("CC", compiler)
    with silence():
        found = gradients("leaky", "auto")
        told = choice.explain(cell_of("leaky", 3, 4), 2, 5)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)
    assert told.path == "eager"
    reason = (
        "no C compiler was found"
        if compiler == "/nonexistent"
        else f"{compiler} fails: no reason given"
    )
    assert reason in told.refused["fused"]


def test_a_scan_without_a_compiler_has_the_same_numbers(monkeypatch):
    """torch's own operations stand in, and nothing is said."""
    case = [
        torch.randn(2, 9, 4, dtype=torch.float64),
        torch.randn(2, 9, 4, dtype=torch.float64),
        torch.zeros(2, 4).double(),
    ]
    wanted = scan.linear_scan(*case)
    assert onepass._kernels("double") is not None
    anew(monkeypatch)
    monkeypatch.setenv("RECURRA_CACHE", os.environ["RECURRA_CACHE"] + "-empty")
    monkeypatch.setenv("CC", "/nonexistent")
    with silence():
        found = scan.linear_scan(*case)
    assert onepass._kernels("double") is None
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def test_check_says_that_there_is_no_compiler(task, monkeypatch):
    """Beside the path that is taken; it is a fact, and no complaint."""
    monkeypatch.setenv("CC", "/nonexistent")
    here = ("check", task(HELLO), "-o", "device.kind=cpu")
    done = command(*here).tidy(0)
    assert "not fused: no C compiler was found" in done.out and done.err == ""
    (layer,) = [row for row in command(*here, "--json").last["layers"] if "refused" in row]
    assert "no C compiler was found" in layer["refused"]["fused"]


def test_a_command_says_one_line_where_nothing_can_be_kept(task, tmp_path, monkeypatch):
    """Kernels and measured times together; no traceback, and no place in the source."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("RECURRA_MEASURE", "1")
    done = command("check", task(HELLO)).tidy(0)
    assert re.fullmatch(rf"warning: {tmp_path}/file cannot be written \(.*\): .*\n", done.err)
