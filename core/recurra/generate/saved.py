"""The file of a session's state: a safetensors file with a hash of all that it holds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from recurra.errors import InputError, Unverified, warn
from recurra.runs import headers
from recurra.runs.files import streamed


def write(path: Path, about: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Write tensors and what is said about them. Raises `RunError` (RC053)."""
    about["sha256"] = hash_of(about, tensors)
    with streamed(path, binary=True) as file:
        file.write(save(tensors, metadata=about))


def read(path: str | Path, signature: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return what a file says about its tensors, and these, if it has a signature.

    Raises `InputError` (RC054); warns (`Unverified`) where it has no hash.
    """
    try:
        about, tensors = _contents(Path(path))
    except Exception as error:
        # A file that is none of ours may lead safetensors to anything.
        raise InputError.of("RC054", f"{path} is not a saved state: {error}") from error

    if about.get("signature") != signature:
        fact = f"{path} was saved by another network, vocabulary or precision"
        cure = "restore it into a session of the run that saved it"
        raise InputError.of("RC054", fact, cure=cure)
    if "sha256" not in about:
        text = f"{path} holds no hash, as states of before: it is restored unverified"
        warn(text, Unverified)
    return about, tensors


def _contents(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return what a file holds, also where another takes its place meanwhile."""
    while True:
        # It is opened for its heading, and again for its tensors.
        before = path.stat()
        headers.of_file(path)
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        after = path.stat()
        if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
            return about, tensors


def bytes_of(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor on the CPU."""
    return tensor.view(torch.uint8).numpy().tobytes()


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names have a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def hash_of(about: dict[str, str], tensors: dict[str, Tensor]) -> str:
    """Return a hash of all that a saved state holds, but for the hash itself."""
    rest = {key: value for key, value in sorted(about.items()) if key != "sha256"}
    digest = hashlib.sha256(json.dumps(rest).encode())
    for name, tensor in sorted(tensors.items()):
        heading = [name, str(tensor.dtype), list(tensor.shape)]
        digest.update(json.dumps(heading).encode())
        digest.update(bytes_of(tensor.detach().cpu().contiguous().view(-1)))
    return digest.hexdigest()
