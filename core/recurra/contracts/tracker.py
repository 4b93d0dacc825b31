"""The contract of a tracker: where a run is told of, beside its own folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from recurra.contracts.options import TrackerOptions

O = TypeVar("O", bound=TrackerOptions)  # noqa: E741

Ending: TypeAlias = Literal["done", "interrupted", "failed"]
"""How a run has ended: `interrupted` and `failed` ones may go on another time."""

NONE: Mapping[Any, Any] = MappingProxyType({})


class Point(NamedTuple):
    """What was measured after `step` updates: figures by their names, some of which may be nan.

    `split` is train, validation or test. Of training there is the loss since the point before, the
    `rate` and the `tokens` so far. The last points of a run are `final`: the figures of its best
    weights. They come anew each time that a run is ended.

    A sample, which was generated at a validation or in the end, is a point of its own, with `text`
    and no figures; numbers stand in it a line for each step. Trackers get it that take `texts`.
    """

    step: int
    split: str
    figures: Mapping[str, float]
    final: bool = False
    epoch: int | None = None
    text: str = ""

    @property
    def group(self) -> str:
        """What its figures are called together: `final`, or the split."""
        return "final" if self.final else self.split


class Followed(NamedTuple):
    """The run that is followed: `name` is its task and its number, as `hello/3`, `path` its folder.

    `place` is a folder inside that one for the tracker alone; it is made when something is put
    there. `keys` are those of the whole task, dotted, with their values, and `about` what else is
    known when training begins, such as the count of parameters and the versions.
    """

    name: str
    task: str
    path: Path
    place: Path
    keys: Mapping[str, Any] = NONE
    about: Mapping[str, Any] = NONE


class Tracker(ABC, Generic[O]):
    """Takes the figures of a run to where people look at them; it came with API 1.2.

    All its methods are called in a thread of its own, one after the other. Whatever they raise, and
    a call that takes longer than `options.timeout`, costs the run nothing: it goes on without the
    tracker, and says so. `requires` names modules that it imports where it uses them, and `install`
    what brings them: a task that asks for a tracker without them is refused before it is trained.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = ""

    def __init__(self, options: O) -> None:
        self.options = options

    @property
    def texts(self) -> bool:
        """Whether it takes samples as well; by default it gets points with figures alone."""
        return False

    @abstractmethod
    def begin(self, run: Followed, state: Mapping[str, Any] | None, step: int) -> None:
        """Begin to follow a run.

        Where it goes on, `state` is what `flush` gave, possibly in another process: what was told
        up to `step` stays, but for final points, and what came after is forgotten, by the end at
        the latest, for it comes again. So no point stands twice. `state` is None for a run that was
        not followed before. Raises `LookupError` where what a state leads to is gone: it is then
        asked to begin anew.
        """

    @abstractmethod
    def log(self, points: Sequence[Point]) -> None:
        """Tell of some points, in their order."""

    @abstractmethod
    def flush(self) -> Mapping[str, Any]:
        """Bring all points so far to where they outlive this process.

        Returns by what the same place is found again, as JSON holds it. It is called after `begin`,
        now and then, and before the end.
        """

    @abstractmethod
    def end(self, how: Ending) -> Mapping[str, Any]:
        """Stop following the run, and let go of what is open. Returns what `flush` does."""

    def read(self, state: Mapping[str, Any]) -> list[Point]:
        """Return the points that stand where a state leads, each figure in one point or more.

        The contract suite reads with it what was told. Raises `NotImplementedError` where nothing
        can be read back, which is the default.
        """
        raise NotImplementedError
