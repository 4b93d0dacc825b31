"""What several processes that train one network share out: data, the rows of batches, threads."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch

from recurra.errors import InputError, RunError
from recurra.job.data import Data
from recurra.model.network import Network
from recurra.resolved import Resolved
from recurra.runs.folder import RunFolder
from recurra.spec.checking import dotted
from recurra.spec.overrides import leaves
from recurra.world import advising, world


def agree_on(resolved: Resolved) -> None:
    """Refuse processes that are told different tasks, of each of which a part would be trained.

    Where the data lies may differ, and what it holds is compared by itself. Raises `RunError`
    (RC064) that names the keys.
    """
    here = world()
    if here.size == 1:
        return
    tables = resolved.tables()
    del tables["source"]
    first, *others = here.gathered({dotted(key): repr(value) for key, value in leaves(tables)})
    for rank, other in enumerate(others, 1):
        every = first.keys() | other.keys()
        odd = ", ".join(sorted(key for key in every if first.get(key) != other.get(key)))
        if odd:
            fact = f"process {rank} of {here.size} has another task than the first: {odd}"
            raise RunError.of("RC064", fact, cure="give every process the same task and overrides")


def shared_out(load: Callable[[], Data]) -> Data:
    """Return the data of each process: the first reads and encodes it, then the others take it.

    Raises `RunError` (RC064) where they do not read the same.
    """
    here = world()
    data = here.in_turn(load)
    if here.size == 1:
        return data
    first, *others = here.gathered((data.store.fingerprint, platform.node()))
    for rank, (fingerprint, host) in enumerate(others, 1):
        if fingerprint != first[0]:
            fact = f"process {rank} of {here.size} on {host} reads other data than the first on"
            fact += f" {first[1]}: its fingerprint is {fingerprint[:12]}, and not {first[0][:12]}"
            raise RunError.of("RC064", fact, cure="give every machine the same files")
    return data


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """Keep every other process from training a run meanwhile, but those that train it together.

    Raises `InputError` (RC055) if one does.
    """
    with ExitStack() as stack:

        def hold() -> None:
            stack.enter_context(folder.held())

        world().alone(hold)
        stack.enter_context(advising(folder.going_on))
        yield


def check(resolved: Resolved, network: Network) -> None:
    """Refuse what several processes cannot share out.

    Raises `InputError` (RC031) for a batch of fewer rows, and noise that flows from row to row.
    """
    size, rows = world().size, resolved.task.training.batch_size
    with resolved.placing():
        if rows < size:
            many = f"{rows} row{'s' * (rows != 1)}"
            fact = f"a batch of {many} cannot be shared out among {size} processes"
            cure = f"set training.batch_size to {size} or more, or start" + (
                f" {rows} processes at most" if rows > 1 else " one process"
            )
            raise InputError.of("RC031", fact, key="training.batch_size", cure=cure)
        noise = network.noise
        if size > 1 and network.masks and noise is not None and not noise.by_place:
            fact = "the dropout of this run, made by an older recurra, flows from row to row"
            raise InputError.of("RC031", fact, cure="go on with it in one process")


def lines() -> list[str]:
    """Return how many processes train together, where they are several, and with what."""
    here, threads = world(), torch.get_num_threads()
    if here.size == 1:
        return []
    machines = "" if here.neighbours == here.size else f", {here.neighbours} on this machine"
    return [f"{here.size} processes{machines}, {threads} thread{'s' * (threads != 1)} each"]
