"""Compiled kernels: C made into a library by the system's compiler, once a machine.

A library is kept in the cache folder, under a hash of its source, the flags, torch's version, the
processor and the compiler that `CC` names, beside a checksum of itself and a word on what it is:
one that is cut off or changed is built again. It is written whole or not at all, so processes may
build the same one; they wait for the first.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeAlias

import torch

import recurra
from recurra import system
from recurra.cache import cache_folder, touch, unkept
from recurra.engine.machine import described, machine

BASE = ("-O3", "-std=gnu11", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-w")
"""Flags that change no result: none lets a compiler forget NaN, infinity or the order of a sum."""
_X86 = ("-march=native", "-mprefer-vector-width=512")
_OTHER = ("-mcpu=native",)
WIDE = _X86 if platform.machine() in ("x86_64", "AMD64") else _OTHER
SETS = ((*BASE, *WIDE, "-fopenmp"), (*BASE, "-fopenmp"), (*BASE, *WIDE), BASE)
"""Flags to try, the fastest first; without -fopenmp a kernel runs on one thread."""
USUAL = (("cc",), ("gcc",), ("clang",))
"""Compilers, where `CC` names none; the first that there is is taken."""
PATIENCE = 120
"""Seconds that a compiler may take for a library.

One that takes more is asked for no other in this process.
"""

Command: TypeAlias = tuple[str, ...]
"""How a compiler is called: the program, and what follows it."""

_loaded: dict[str, ctypes.CDLL] = {}

# The files of libraries that this process has loaded, open and locked as in use.
_used: list[int] = []

# Compilers that do not come to an end, or do not begin, and why: none is tried again.
_unfit: dict[Command, str] = {}


class Unbuildable(Exception):
    """Why there is no library, in words."""


def kernel_folder() -> Path:
    """Return where libraries are kept."""
    return cache_folder().absolute() / "kernels"


def library(source: str, of: str = "") -> ctypes.CDLL:
    """Return the library of a C source, built if need be; `of` says in the cache what it is.

    Raises `Unbuildable`, and nothing else.
    """
    parts = [source, repr(SETS), str(torch.__version__), _processor(), _named()]
    name = hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:32]
    if name not in _loaded:
        _loaded[name] = _on_disk(name) or _alone(name, source, of)
    return _loaded[name]


def _alone(name: str, source: str, of: str) -> ctypes.CDLL:
    """Build a library, or wait for another process that does."""
    try:
        lock = _file(name).with_name(f".{name}.lock")
        _make(lock.parent)
    except OSError:
        # Nothing is kept, and that is said where it would be.
        return _built(name, source, of)
    with system.awaited(lock, "compiling a kernel", PATIENCE):
        return _on_disk(name) or _built(name, source, of)


def _file(name: str) -> Path:
    """Return where a library is kept. Raises `OSError` where nothing can be."""
    try:
        return kernel_folder() / f"{name}.so"
    except RuntimeError as error:
        # The user has no home.
        raise OSError(errno.ENOENT, str(error)) from error


def _on_disk(name: str) -> ctypes.CDLL | None:
    """Return a library that is kept, if it is whole."""
    try:
        file = _file(name)
        _check_own(file.parent, file, file.with_suffix(".sha256"))
        checksum = file.with_suffix(".sha256").read_text(encoding="ascii")
        data = file.read_bytes()
        if _checksum(name, data) != checksum:
            return None
        library = ctypes.CDLL(str(file))
    except (OSError, ValueError):
        return None
    _use(file)
    return library


def _check_own(*paths: Path) -> None:
    """Raise `PermissionError` for what others can write, or have written: it would run as ours."""
    if not hasattr(os, "geteuid"):
        return
    for path in paths:
        state = path.stat()
        if state.st_uid not in (os.geteuid(), 0):
            raise PermissionError(errno.EPERM, f"{path} belongs to another user")
        if state.st_mode & 0o022:
            raise PermissionError(errno.EPERM, f"others can write {path}: chmod go-w takes that")


def _use(file: Path) -> None:
    """Mark a library of the cache folder as in use by this process, and as used now."""
    with suppress(OSError):
        handle = os.open(file, os.O_RDONLY)
        _used.append(handle)
        system.shared(handle)
    touch(file)


def _checksum(name: str, data: bytes) -> str:
    """Return what tells a library that is whole, and that it is the one of this name."""
    return hashlib.sha256(name.encode() + data).hexdigest()


def _built(name: str, source: str, of: str) -> ctypes.CDLL:
    """Compile a library, and keep it where that can be done and it can be loaded."""
    compiler = compilers()
    if not compiler:
        raise Unbuildable("no C compiler was found (cc, gcc, clang, or the one that CC names)")
    if compiler in _unfit:
        raise Unbuildable(_unfit[compiler])

    try:
        with tempfile.TemporaryDirectory(prefix="recurra-", ignore_cleanup_errors=True) as folder:
            work = _compiled(compiler, source, Path(folder))
            copy = _copied(work, name, of)
            library = _loadable(copy, work)
            if copy is not None and copy.exists():
                _use(copy)
            return library
    except OSError as error:
        raise Unbuildable(f"nothing can be compiled: {error.strerror or error}") from error


def _loadable(copy: Path | None, work: Path) -> ctypes.CDLL:
    """Load a library from its `copy` in the cache folder, or from where it was compiled.

    There are folders from which programs may not be loaded.
    """
    try:
        return ctypes.CDLL(str(copy or work))
    except OSError as error:
        if copy is not None:
            with suppress(OSError):
                return ctypes.CDLL(str(work))
            # It is no good anywhere, and another process need not try it.
            for suffix in (".so", ".sha256", ".json"):
                file = copy.with_suffix(suffix)
                with suppress(OSError):
                    file.unlink(missing_ok=True)
        raise Unbuildable(f"a compiled kernel cannot be loaded: {error}") from error


def _compiled(compiler: Command, source: str, folder: Path) -> Path:
    """Return a compiled file. Raises `Unbuildable` with the compiler's first words."""
    text = folder / "kernel.c"
    work = folder / "kernel.so"
    text.write_text(source, encoding="utf-8")

    # One patience for all sets of flags; of several failures the first is told.
    reason = ""
    end = time.monotonic() + PATIENCE
    for flags in SETS:
        command = [*compiler, *flags, str(text), "-o", str(work), "-lm"]
        try:
            code, output = _run(command, folder, end - time.monotonic())
        except subprocess.TimeoutExpired as error:
            _unfit[compiler] = f"{compiler[0]} does not come to an end in {PATIENCE:g} s"
            raise Unbuildable(_unfit[compiler]) from error
        except OSError as error:
            _unfit[compiler] = f"{compiler[0]} does not run: {error.strerror or error}"
            raise Unbuildable(_unfit[compiler]) from error

        if code == 0 and work.exists():
            return work
        reason = reason or _reason(output)
    raise Unbuildable(f"{compiler[0]} fails: {reason[:200] or 'no reason given'}")


def _reason(output: str) -> str:
    """Return the line of a compiler's output that tells an error, or its first line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    first = lines[0] if lines else ""
    return next((line for line in lines if "error" in line), first)


def _run(command: list[str], folder: Path, patience: float) -> tuple[int, str]:
    """Run a compiler; return how it ended and what it printed. What it started ends with it."""
    world = os.environ | {"LC_ALL": "C"}

    # It prints into a file: what is left running could hold a pipe open.
    output = folder / "output"
    with (
        output.open("wb") as out,
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
    return child.returncode, output.read_text(encoding="utf-8", errors="replace")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    # After Ctrl-C nobody else waits for it.
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout=10)


def _copied(work: Path, name: str, of: str) -> Path | None:
    """Copy a compiled file into the cache folder; return the copy, or nothing if it cannot be."""
    data = work.read_bytes()
    about = {
        "of": of,
        "recurra": recurra.__version__,
        "torch": str(torch.__version__),
        "machine": machine(),
    }
    checksum = _checksum(name, data)
    try:
        file = _file(name)
        _make(file.parent)
        _check_own(file.parent)
        _write(file, data)
        _write(file.with_suffix(".sha256"), checksum.encode())
        _write(file.with_suffix(".json"), json.dumps(about).encode())
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


def compilers() -> Command:
    """Return the C compiler: that of `CC`, or the first of cc, gcc and clang that there is."""
    try:
        named = shlex.split(os.environ.get("CC", ""))
    except ValueError:
        # A quotation has no end.
        return ()
    return _there([named] if named else USUAL)


def _named() -> str:
    """Return the compiler of `CC`, if there is one and it is not the one that would be taken.

    What that one has built is kept for those who name none that there is.
    """
    named = compilers() if os.environ.get("CC") else ()
    return repr(named) if named and named != _there(USUAL) else ""


def _there(commands: Sequence[Sequence[str]]) -> Command:
    """Return the first of some compilers that there is."""
    for program, *arguments in commands:
        if place := shutil.which(program):
            return os.path.abspath(place), *arguments
    return ()


@cache
def _processor() -> str:
    """Return what decides which instructions a compiler may use."""
    flags = [line for line in described() if line.startswith(("flags", "Features"))]
    first = flags[0] if flags else ""
    return f"{machine()} {platform.machine()} {first}"


def _make(folder: Path) -> None:
    """Make a folder of the user's own where there is none, and touch none that there is."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
