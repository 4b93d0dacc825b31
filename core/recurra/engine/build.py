"""Compiled kernels: C made into a library by the system's compiler, once a machine, and kept in the
cache folder.

A library is kept under a hash of its source, the flags, torch's version and the processor, beside a
checksum of itself: one that is cut off or changed is built again. It is written whole or not at
all, so processes may build the same one.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from recurra.cache import cache_folder, unkept
from recurra.engine.machine import machine

BASE = ("-O3", "-std=gnu11", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-w")
"""Flags that change no result: none lets the compiler forget NaN, infinity or the order of a
sum.
"""
WIDE = (
    ("-march=native", "-mprefer-vector-width=512")
    if platform.machine() in ("x86_64", "AMD64")
    else ("-mcpu=native",)
)
SETS = ((*BASE, *WIDE, "-fopenmp"), (*BASE, "-fopenmp"), (*BASE, *WIDE), BASE)
"""Flags to try, the fastest first; without -fopenmp a kernel runs on one thread."""
PATIENCE = 120
"""Seconds that a compiler may take for a library; one that takes more is asked for no other in this
process.
"""

_loaded: dict[str, ctypes.CDLL] = {}
_unfit: dict[
    tuple[str, ...], str
] = {}  # compilers that do not come to an end, or do not begin: none is tried again


class Unbuildable(Exception):
    """Why there is no library, in words."""


def kernel_folder() -> Path:
    """Return where libraries are kept."""
    return cache_folder().absolute() / "kernels"


def library(source: str) -> ctypes.CDLL:
    """Return the library of a C source, built if need be. Raises `Unbuildable`, and nothing
    else.
    """
    made_of = "\0".join([source, repr(SETS), str(torch.__version__), _processor()])
    name = hashlib.sha256(made_of.encode()).hexdigest()[:32]
    if name not in _loaded:
        _loaded[name] = _found(name) or _built(name, source)
    return _loaded[name]


def _file(name: str) -> Path:
    """Return where a library is kept. Raises `OSError` where nothing can be."""
    try:
        return kernel_folder() / f"{name}.so"
    except RuntimeError as error:  # a user without a home
        raise OSError(errno.ENOENT, str(error)) from error


def _found(name: str) -> ctypes.CDLL | None:
    """Return a library that is kept, if it is whole."""
    try:
        file = _file(name)
        checksum = file.with_suffix(".sha256").read_text(encoding="ascii")
        if _checksum(name, file.read_bytes()) != checksum:
            return None
        return ctypes.CDLL(str(file))
    except (OSError, ValueError):
        return None


def _checksum(name: str, data: bytes) -> str:
    """Return what tells a library that is whole, and that it is the one of this name."""
    return hashlib.sha256(name.encode() + data).hexdigest()


def _built(name: str, source: str) -> ctypes.CDLL:
    """Compile a library, and keep it where that can be done and it can be loaded."""
    compiler = compilers()
    if not compiler:
        raise Unbuildable("no C compiler was found (cc, gcc, clang, or the one that CC names)")
    if compiler in _unfit:
        raise Unbuildable(_unfit[compiler])
    try:
        with tempfile.TemporaryDirectory(prefix="recurra-", ignore_cleanup_errors=True) as folder:
            made = _compiled(compiler, source, Path(folder))
            kept = _kept(made, name)
            return _loadable(kept, made)
    except OSError as error:
        raise Unbuildable(f"nothing can be compiled: {error.strerror or error}") from error


def _loadable(kept: Path | None, made: Path) -> ctypes.CDLL:
    """Load a library from the cache folder, or from where it was made if programs may not be loaded
    from there.
    """
    try:
        return ctypes.CDLL(str(kept or made))
    except OSError as error:
        if kept is not None:
            with suppress(OSError):
                return ctypes.CDLL(str(made))
            for file in (kept, kept.with_suffix(".sha256")):
                with suppress(OSError):
                    file.unlink(missing_ok=True)
        raise Unbuildable(f"a compiled kernel cannot be loaded: {error}") from error


def _compiled(compiler: tuple[str, ...], source: str, folder: Path) -> Path:
    """Return a compiled file. Raises `Unbuildable` with the compiler's first words."""
    text, made = folder / "kernel.c", folder / "kernel.so"
    text.write_text(source, encoding="utf-8")
    reason = ""
    end = time.monotonic() + PATIENCE
    for flags in SETS:
        try:
            code, said = _run(
                [*compiler, *flags, str(text), "-o", str(made), "-lm"],
                folder,
                end - time.monotonic(),
            )
        except subprocess.TimeoutExpired as error:
            _unfit[compiler] = f"{compiler[0]} does not come to an end in {PATIENCE:g} s"
            raise Unbuildable(_unfit[compiler]) from error
        except OSError as error:
            _unfit[compiler] = f"{compiler[0]} does not run: {error.strerror or error}"
            raise Unbuildable(_unfit[compiler]) from error
        if code == 0 and made.exists():
            return made
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        reason = reason or next(
            (line for line in lines if "error" in line), lines[0] if lines else ""
        )
    raise Unbuildable(f"{compiler[0]} fails: {reason[:200] or 'no reason given'}")


def _run(command: list[str], folder: Path, patience: float) -> tuple[int, str]:
    """Run a compiler; return how it ended and what it said. What it has started ends with it."""
    world = os.environ | {"LC_ALL": "C"}
    said = folder / "said"  # a file and no pipe, which what is left running could hold open
    with (
        said.open("wb") as out,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=folder,
            env=world,
            start_new_session=True,
        ) as child,
    ):
        try:
            child.wait(timeout=max(patience, 0))
        except BaseException:
            _end(child)
            raise
    return child.returncode, said.read_text(encoding="utf-8", errors="replace")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


def _kept(made: Path, name: str) -> Path | None:
    """Copy a compiled file into the cache folder; return where it is, or nothing if it cannot be
    kept.
    """
    data = made.read_bytes()
    try:
        file = _file(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, data)
        _write(file.with_suffix(".sha256"), _checksum(name, data).encode())
    except OSError as error:
        unkept(error)
        return None
    return file


def _write(file: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    handle, part = tempfile.mkstemp(prefix="part-", dir=file.parent)
    try:
        try:
            out = os.fdopen(handle, "wb")
        except OSError:
            os.close(handle)
            raise
        with out:
            out.write(content)
        os.chmod(part, 0o755)
        os.replace(part, file)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def compilers() -> tuple[str, ...]:
    """Return the command of the C compiler: that of `CC`, or the first of cc, gcc and clang that
    there is.
    """
    try:
        named = shlex.split(os.environ.get("CC", ""))
    except ValueError:  # a quotation without an end
        return ()
    for first, *more in [named] if named else [["cc"], ["gcc"], ["clang"]]:
        if place := shutil.which(first):
            return os.path.abspath(place), *more
    return ()


@cache
def _processor() -> str:
    """Return what decides which instructions a compiler may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{machine()} {platform.machine()} {flags}"
