"""The processes that train one network together, as torchrun starts them; mostly there is one.

What all of them need to know of each other goes through `World`: sums and decisions that are the
same everywhere, and what one process does for all. A `World` of one costs nothing.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import wraps
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from recurra.errors import InputError, Interrupted, Problem, RecurraError, RunError
from recurra.meeting import met
from recurra.peers import FAILED, LEFT, Peers, end_now, ended_by, of_talk, soon

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

T = TypeVar("T")
P = ParamSpec("P")

ALONE = frozenset({"RC061", "RC070", "RC071"})
"""What may go wrong in one process alone."""

WAIT = timedelta(days=7)
"""How long the others wait for what the first does alone: reading data, evaluating."""

ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process, which is all that is needed to join."""

OF_ONE = {*ENVIRONMENT, "LOCAL_RANK", "LOCAL_WORLD_SIZE"}
"""What is said to one of several processes, and to nothing that it starts itself."""


class World:
    """The processes that train one network together, seen from one of them: here the only one.

    Each has a `rank`, from 0 to `size` - 1; the `first` alone writes and prints. On its own machine
    it is process `place` of `neighbours`. Every method but `part` is called by all of them, in the
    same order.
    """

    rank = 0
    size = 1
    place = 0
    neighbours = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Return which of `count` rows are this process's: contiguous, in the order of ranks.

        Where they do not divide evenly the first processes have one more; there may be none.
        """
        return share(count, self.rank, self.size)

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Return the sum over all processes of each number, in float64, the same bits in all."""
        return tuple(map(float, numbers))

    def any(self, flag: bool) -> bool:
        """Tell whether it is so in any process."""
        return flag

    def gathered(self, value: T) -> list[T]:
        """Return the plain values of all processes, in the order of ranks."""
        return [value]

    def told(self, value: T) -> T:
        """Return the plain value that the first process gives."""
        return value

    def alone(self, make: Callable[[], T]) -> T:
        """Return the plain value that the first process makes, alone, while the others wait.

        For it `world()` is one of one meanwhile. Where it fails, its error is raised in all.
        """
        return make()

    def together(self, make: Callable[[], T]) -> T:
        """Return what each process makes for itself; where one of them fails, all do.

        The error is that of the first, by rank, that failed.
        """
        return make()

    def in_turn(self, make: Callable[[], T]) -> T:
        """Return what each process makes for itself: first the first, then all others.

        So what the first leaves in a cache is there for the others. Errors are as in `together`.
        """
        return make()

    def wait(self) -> None:
        """Wait for all processes."""

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Name who is gone, where a talk of torch's with the others fails meanwhile."""
        yield


class Processes(World):
    """Several processes, which talk through torch.distributed; what they say is on the CPU."""

    def __init__(self, control: ProcessGroup | None = None) -> None:
        """Take the processes of the default group; `control` is where they wait for long."""
        from torch import distributed

        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        self.place = _number("LOCAL_RANK", self.rank)
        self.neighbours = _number("LOCAL_WORLD_SIZE", self.size)
        self.control = control

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Return the sum over all processes of each number, in float64, the same bits in all."""
        import torch
        from torch import distributed

        sums = torch.tensor(numbers, dtype=torch.float64)
        with self.talking():
            distributed.all_reduce(sums)
        return tuple(sums.tolist())

    def any(self, flag: bool) -> bool:
        """Tell whether it is so in any process."""
        return self.total(flag)[0] > 0

    def gathered(self, value: T) -> list[T]:
        """Return the plain values of all processes, in the order of ranks."""
        from torch import distributed

        values: list[Any] = [None] * self.size
        with self.talking():
            distributed.all_gather_object(values, value, group=self.control)
        return values

    def told(self, value: T) -> T:
        """Return the plain value that the first process gives."""
        import torch
        from torch import distributed

        box = [value]
        cpu = torch.device("cpu")
        with self.talking():
            distributed.broadcast_object_list(box, group=self.control, device=cpu)
        return box[0]

    def alone(self, make: Callable[[], T]) -> T:
        """Return the plain value that the first process makes, alone, while the others wait."""
        value: Any = None
        error: BaseException | None = None
        if self.first:
            with apart():
                value, error = _tried(make)
        value, fault = self.told((value, self._fault(error)))
        self._raise([fault], error)
        return value  # type: ignore[no-any-return]

    def together(self, make: Callable[[], T]) -> T:
        """Return what each process makes for itself; where one of them fails, all do."""
        value, error = _tried(make)
        self._raise(self.gathered(self._fault(error)), error)
        return value  # type: ignore[return-value]

    def in_turn(self, make: Callable[[], T]) -> T:
        """Return what each process makes for itself: first the first, then all others."""
        value: T | None = None
        error: BaseException | None = None
        if self.first:
            value, error = _tried(make)
        failed = self.told(error is not None)
        if not self.first and not failed:
            value, error = _tried(make)
        self._raise(self.gathered(self._fault(error)), error)
        return value  # type: ignore[return-value]

    def wait(self) -> None:
        """Wait for all processes."""
        self.told(None)

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Name who is gone, where a talk of torch's with the others fails meanwhile."""
        try:
            yield
        except RuntimeError as error:
            if _peers is None or not of_talk(error):
                raise
            with _deaf():
                cause = _peers.why()
            raise cause from error

    def _fault(self, error: BaseException | None) -> Fault | None:
        """Return what the others are told of an error."""
        if error is None:
            return None
        return ended_by(error, self.rank, self.size)

    def _raise(self, faults: list[Fault | None], own: BaseException | None) -> None:
        """Raise what went wrong, if anything did: the own error in the process whose it is."""
        failed = [rank for rank, fault in enumerate(faults) if fault is not None]
        if not failed:
            return
        fault = faults[failed[0]]
        assert fault is not None, "it has failed"
        kind, problems, code = fault
        if failed[0] and len(faults) > 1:
            # What the first has not met lies in the place of another.
            who = f" (process {failed[0]} of {self.size})"
            problems = [replace(each, fact=each.fact + who) for each in problems]
        if own is not None and failed[0] == self.rank:
            if failed[0] == 0 or not isinstance(own, RecurraError):
                raise own
            error = kind(problems)
            error.exit_code = code
            raise error from own
        error = kind(problems)
        error.exit_code, error.told = code, True
        raise error


Fault = tuple[type[RecurraError], Any, int]
"""What processes tell each other of an error: its class, its problems and its exit code."""


def share(count: int, rank: int, size: int) -> slice:
    """Return which of `count` rows one of `size` processes has, as `World.part` says."""
    each, more = divmod(count, size)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


def _tried(make: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    try:
        return make(), None
    except BaseException as error:
        # The others wait, and are to be told of an interruption as well.
        return None, error


_ONE = World()
_present: World = _ONE
_joined: World | None = None
"""The processes that this one has joined: once, for as long as it lives."""
_store: Any = None
"""What is known to all of them, whatever each of them does."""
_peers: Peers | None = None
"""What is heard of the others."""
_advice: list[Callable[[], str]] = []
"""What can be said of how to go on, where this work ends before its time."""


def world() -> World:
    """Return the processes that work together now: outside of `joined` this one alone."""
    return _present


def launched() -> int:
    """Return how many processes were started together with this one, it included.

    Raises `InputError` (RC080) where the environment says only half of it.
    """
    size = _number("WORLD_SIZE", 1)
    missing = [name for name in ENVIRONMENT if not os.environ.get(name)]
    if size > 1 and missing:
        fact = f"WORLD_SIZE is {size}, but {' and '.join(missing)} of the environment are missing"
        cure = "start several processes with torchrun, or unset WORLD_SIZE"
        raise InputError.of("RC080", fact, cure=cure)
    return size


def leads() -> bool:
    """Tell whether this process is the one that prints, before any has joined."""
    several = os.environ.get("WORLD_SIZE", "") not in ("", "1")
    return not several or os.environ.get("RANK", "") in ("", "0")


def lone() -> dict[str, str]:
    """Return the environment for a process that this one starts, which is none of several."""
    return {name: value for name, value in os.environ.items() if name not in OF_ONE}


def ending() -> bool:
    """Tell whether this process, one of several, has told the others by what fault it ends."""
    return _peers is not None and _peers.state == FAILED


@contextmanager
def joined() -> Iterator[World]:
    """Work together with the processes that torchrun has started beside this one, if it has.

    Where a group of processes is there already, it is that. All of them are to come here. An error
    that several of them raise is `told` by one, and known to be in the others.
    """
    global _present, _joined
    before = _present
    if before is _ONE and launched() > 1:
        _joined = _joined or _join()
        _present = _joined
    begins = before is _ONE and _present is not _ONE
    if begins and _peers is not None:
        _peers.begin()
    try:
        yield _present
    except BaseException as error:
        if not begins:
            raise
        with _deaf():
            failed = _known(error)
        if failed is error:
            raise
        raise failed from error
    else:
        if begins and _peers is not None:
            _peers.say(LEFT)
    finally:
        _present = before
        if before is _ONE:
            _advice.clear()


@contextmanager
def _deaf() -> Iterator[None]:
    """Hear no request to end meanwhile: this process is about to, once it has said why."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in map(int, (signal.SIGINT, signal.SIGTERM)):
            before[number] = signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _known(error: BaseException) -> BaseException:
    """Tell the others how this process ends, and return what is to be raised here.

    One that is asked to end since another has died says so.
    """
    if _peers is None:
        if isinstance(error, RecurraError):
            error.told = error.told or _told(str(error))
        return error
    asked = isinstance(error, KeyboardInterrupt | Interrupted)
    if asked and (cause := _peers.fault()) is not None:
        error = cause
    elif isinstance(error, KeyboardInterrupt):
        fact = f"process {_present.rank} of {_present.size} was asked to end, and so all end"
        error = Interrupted.because(error, fact, "")
    if isinstance(error, RecurraError):
        error = advised(_in_one(error))
        _peers.say(FAILED, error)
        lost = any(problem.code == "RC064" for problem in error.problems)
        same = "lost" if lost else "asked" if isinstance(error, Interrupted) else str(error)
        same = same.partition(" (process ")[0]
        error.told = error.told or _told(same)
    else:
        _peers.say(FAILED, error)
    return error


@contextmanager
def advising(advice: Callable[[], str]) -> Iterator[None]:
    """Let whatever ends the work of several processes say how to go on with it."""
    _advice.append(advice)
    try:
        yield
    except RecurraError as error:
        raise advised(_in_one(error)) from error.__cause__
    # A run in another thread that has ended takes all of it along.
    if advice in _advice:
        _advice.remove(advice)


def _in_one(error: RecurraError) -> RecurraError:
    """Return an error that says of which of several processes it is, if it may be of one alone."""
    own = {problem.code for problem in error.problems} <= ALONE
    if _present is _ONE or not own or error.told or "(process " in str(error):
        return error
    who = f" (process {_present.rank} of {_present.size})"
    return _changed(error, [replace(each, fact=each.fact + who) for each in error.problems])


def _changed(error: RecurraError, problems: list[Problem]) -> RecurraError:
    """Return an error with other problems."""
    new = type(error)(problems)
    new.exit_code, new.told, new.__cause__ = error.exit_code, error.told, error.__cause__
    return new


def advised(error: RecurraError) -> RecurraError:
    """Return an error that says how to go on, where it does not yet."""
    known = [text for advice in _advice if (text := advice())]
    told = "; ".join(known)
    said = "`recurra resume" in str(error) or told in str(error)
    if _present is _ONE or not known or said or isinstance(error, InputError):
        return error
    problems = [
        replace(each, cure=f"{each.cure}; {told}" if each.cure else told) for each in error.problems
    ]
    return _changed(error, problems)


def _gone(error: RecurraError) -> None:
    """End this process, which waits for one that is gone."""
    said = error.told or _told("lost")
    end_now("" if said else f"error: {advised(error)}", error.exit_code)


def jointly(call: Callable[P, T]) -> Callable[P, T]:
    """Return a function that is called in `joined` company."""

    # Not by the context manager itself, whose frame would be taken for the caller's (`warn`).
    @wraps(call)
    def together(*arguments: P.args, **options: P.kwargs) -> T:
        with joined():
            return call(*arguments, **options)

    return together


def _told(text: str) -> bool:
    """Tell whether another process has said, or is about to say, the same."""
    if _store is None:
        return False
    work = 0 if _peers is None else _peers.work
    key = f"told/{work}/{sha256(text.encode()).hexdigest()}"
    # Whoever holds what all know may be gone, or out of reach.
    return bool(soon(lambda: _store.add(key, 1) > 1))


@contextmanager
def apart() -> Iterator[None]:
    """Work for oneself meanwhile, whatever other processes do."""
    global _present
    before, _present = _present, _ONE
    try:
        yield
    finally:
        _present = before


def _join() -> World:
    """Meet the other processes. Raises `RunError` (RC064) where they do not come."""
    global _store, _peers
    import torch
    from torch import distributed
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]
    from torch.distributed.rendezvous import rendezvous

    try:
        if not distributed.is_initialized():
            with_cuda = torch.cuda.is_available() and distributed.is_nccl_available()
            kinds = "cpu:gloo,cuda:nccl" if with_cuda else "gloo"
            store, rank, size = next(iter(rendezvous("env://")))
            name = met(store, rank, size, store.timeout.total_seconds())
            _store = PrefixStore(f"recurra/{name}", store)
            distributed.init_process_group(kinds, store=_store, rank=rank, world_size=size)
            atexit.register(_leave)
            _peers = Peers(_store, rank, size, _gone)
            atexit.register(_peers.close)
        return Processes(distributed.new_group(backend="gloo", timeout=WAIT))
    except (RuntimeError, ValueError) as error:
        fact = f"the {launched()} processes that were started together do not meet: {error}"
        raise RunError.of("RC064", fact) from error


def _leave() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
    if ending() and threading.current_thread() is threading.main_thread():
        # Its exit code is that of the fault, also where torchrun asks for an end while Python ends.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _number(name: str, default: int) -> int:
    """Return a number of the environment. Raises `InputError` (RC080) for what is none."""
    said = os.environ.get(name, "")
    if not said:
        return default
    if not said.isdecimal():
        raise InputError.of("RC080", f"{name} of the environment is {said!r}, and no number")
    return int(said)
