"""recurra: recurrent sequence models in PyTorch, from one TOML file.

The public face: what a plugin may import, and the verbs of the command line. Names are loaded when
they are first used, so that `import recurra` costs nothing and imports no torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
"""How long a thread that waits for others may spin before it sleeps.

It is in turns of a loop, and in milliseconds. By default the threads of torch and of compiled
kernels spin for milliseconds, each time they wait. Beside another process that wants the core, they
keep it from the very thread for which they wait. OpenMP reads this once, when torch is imported:
where that was done before, all stays as it was.
"""

if not os.environ.keys() & {"OMP_WAIT_POLICY", *_WAITING}:
    os.environ.update(_WAITING)

if os.path.exists("/sys/kernel/mm/transparent_hugepage"):
    # torch asks Linux for pages of 2 MiB then where a tensor is larger: a wide layer takes up to a
    # fifth less time
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if TYPE_CHECKING:
    from pydantic import Field

    from recurra.cli.display import progress
    from recurra.comparing.asking import compare
    from recurra.contracts.calendar import Calendar, CalendarWord, Fourier, FourierPeriod
    from recurra.contracts.cell import Cell
    from recurra.contracts.component import Component
    from recurra.contracts.distribution import Distribution
    from recurra.contracts.encoder import Encoder, StatefulEncoder
    from recurra.contracts.gated import GatedCell
    from recurra.contracts.head import Head
    from recurra.contracts.hooks import hookimpl
    from recurra.contracts.loss import Loss
    from recurra.contracts.metric import Figure, Metric, Metrics, SeriesScales, Sums
    from recurra.contracts.options import (
        CellOptions,
        FilePath,
        GatedOptions,
        LossColumn,
        LossOptions,
        Options,
        SymbolOptions,
    )
    from recurra.contracts.scan import ContextState, ScanCell, ScanState
    from recurra.contracts.source import NO_LABEL, Piece, Role, Source
    from recurra.contracts.stamps import Stamp
    from recurra.contracts.target import Elements, Examples, Past, Target, Window
    from recurra.contracts.timeline import Frequency, Timeline
    from recurra.contracts.transform import Transform
    from recurra.contracts.vocabulary import Element, UnknownSymbol, Values, Vocabulary
    from recurra.engine.context import lagged
    from recurra.engine.recurrence import Form, Native, State
    from recurra.errors import InputError, PluginError, RecurraError, Unsuited
    from recurra.generate.sampling import Sampling
    from recurra.runs.differing import diff
    from recurra.runs.listing import runs_in
    from recurra.sweeping.asking import sweep
