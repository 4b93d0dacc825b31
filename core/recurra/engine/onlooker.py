"""A look at the operations of torch as they are made."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Onlooker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode of torch's dispatch under which nothing is compiled.

    torch keeps its compiler out of any other mode, and imports it for that, which takes seconds.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)  # type: ignore[no-untyped-call]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
