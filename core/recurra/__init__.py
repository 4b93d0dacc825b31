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
        TrackerOptions,
    )
    from recurra.contracts.scan import ContextState, ScanCell, ScanState
    from recurra.contracts.source import NO_LABEL, Piece, Role, Source
    from recurra.contracts.stamps import Stamp
    from recurra.contracts.target import Elements, Examples, Past, Target, Window
    from recurra.contracts.timeline import Frequency, Timeline
    from recurra.contracts.tracker import Ending, Followed, Point, Tracker
    from recurra.contracts.transform import Transform
    from recurra.contracts.vocabulary import Element, UnknownSymbol, Values, Vocabulary
    from recurra.engine.context import lagged
    from recurra.engine.recurrence import Form, Native, State
    from recurra.errors import InputError, PluginError, RecurraError, Unsuited
    from recurra.generate.sampling import Sampling
    from recurra.runs.differing import diff
    from recurra.runs.listing import runs_in
    from recurra.showing import plot, report
    from recurra.sweeping.asking import sweep
    from recurra.train.ahead_rules import ahead_rules
    from recurra.train.baselines import ngram_rules
    from recurra.train.events import Observer
    from recurra.train.metrics import Accuracy, Distance, Likelihood
    from recurra.train.series import series_rules
    from recurra.verbs import backtest, bundle, check, load, reproduce, resume, run, verify

_HOME = {
    "Field": "pydantic",
    "Calendar": "recurra.contracts.calendar",
    "CalendarWord": "recurra.contracts.calendar",
    "Fourier": "recurra.contracts.calendar",
    "FourierPeriod": "recurra.contracts.calendar",
    "Cell": "recurra.contracts.cell",
    "Component": "recurra.contracts.component",
    "Encoder": "recurra.contracts.encoder",
    "StatefulEncoder": "recurra.contracts.encoder",
    "GatedCell": "recurra.contracts.gated",
    "Head": "recurra.contracts.head",
    "hookimpl": "recurra.contracts.hooks",
    "Loss": "recurra.contracts.loss",
    "Figure": "recurra.contracts.metric",
    "Metric": "recurra.contracts.metric",
    "Metrics": "recurra.contracts.metric",
    "SeriesScales": "recurra.contracts.metric",
    "Sums": "recurra.contracts.metric",
    "CellOptions": "recurra.contracts.options",
    "FilePath": "recurra.contracts.options",
    "GatedOptions": "recurra.contracts.options",
    "LossColumn": "recurra.contracts.options",
    "LossOptions": "recurra.contracts.options",
    "Options": "recurra.contracts.options",
    "SymbolOptions": "recurra.contracts.options",
    "TrackerOptions": "recurra.contracts.options",
    "Ending": "recurra.contracts.tracker",
    "Followed": "recurra.contracts.tracker",
    "Point": "recurra.contracts.tracker",
    "Tracker": "recurra.contracts.tracker",
    "ContextState": "recurra.contracts.scan",
    "ScanCell": "recurra.contracts.scan",
    "ScanState": "recurra.contracts.scan",
    "NO_LABEL": "recurra.contracts.source",
    "Piece": "recurra.contracts.source",
    "Role": "recurra.contracts.source",
    "Source": "recurra.contracts.source",
    "Frequency": "recurra.contracts.timeline",
    "Stamp": "recurra.contracts.stamps",
    "Timeline": "recurra.contracts.timeline",
    "Elements": "recurra.contracts.target",
    "Examples": "recurra.contracts.target",
    "Past": "recurra.contracts.target",
    "Target": "recurra.contracts.target",
    "Window": "recurra.contracts.target",
    "Transform": "recurra.contracts.transform",
    "Element": "recurra.contracts.vocabulary",
    "UnknownSymbol": "recurra.contracts.vocabulary",
    "Values": "recurra.contracts.vocabulary",
    "Vocabulary": "recurra.contracts.vocabulary",
    "lagged": "recurra.engine.context",
    "Form": "recurra.engine.recurrence",
    "Native": "recurra.engine.recurrence",
    "State": "recurra.engine.recurrence",
    "InputError": "recurra.errors",
    "PluginError": "recurra.errors",
    "RecurraError": "recurra.errors",
    "Unsuited": "recurra.errors",
    "progress": "recurra.cli.display",
    "Sampling": "recurra.generate.sampling",
    "Observer": "recurra.train.events",
    "ahead_rules": "recurra.train.ahead_rules",
    "ngram_rules": "recurra.train.baselines",
    "series_rules": "recurra.train.series",
    "Accuracy": "recurra.train.metrics",
    "Distribution": "recurra.contracts.distribution",
    "Distance": "recurra.train.metrics",
    "Likelihood": "recurra.train.metrics",
    "backtest": "recurra.verbs",
    "bundle": "recurra.verbs",
    "check": "recurra.verbs",
    "compare": "recurra.comparing.asking",
    "diff": "recurra.runs.differing",
    "load": "recurra.verbs",
    "plot": "recurra.showing",
    "report": "recurra.showing",
    "reproduce": "recurra.verbs",
    "resume": "recurra.verbs",
    "run": "recurra.verbs",
    "runs_in": "recurra.runs.listing",
    "sweep": "recurra.sweeping.asking",
    "verify": "recurra.verbs",
}

__all__ = [
    "Accuracy",
    "Calendar",
    "CalendarWord",
    "Cell",
    "CellOptions",
    "Component",
    "ContextState",
    "Distance",
    "Distribution",
    "Element",
    "Elements",
    "Encoder",
    "Ending",
    "Examples",
    "Field",
    "Figure",
    "FilePath",
    "Followed",
    "Form",
    "Fourier",
    "FourierPeriod",
    "Frequency",
    "GatedCell",
    "GatedOptions",
    "Head",
    "InputError",
    "Likelihood",
    "Loss",
    "LossColumn",
    "LossOptions",
    "Metric",
    "Metrics",
    "NO_LABEL",
    "Native",
    "Observer",
    "Options",
    "Past",
    "Piece",
    "PluginError",
    "Point",
    "RecurraError",
    "Role",
    "Sampling",
    "ScanCell",
    "ScanState",
    "SeriesScales",
    "Source",
    "Stamp",
    "State",
    "StatefulEncoder",
    "Sums",
    "SymbolOptions",
    "Target",
    "Timeline",
    "Tracker",
    "TrackerOptions",
    "Transform",
    "UnknownSymbol",
    "Unsuited",
    "Values",
    "Vocabulary",
    "Window",
    "ahead_rules",
    "backtest",
    "bundle",
    "check",
    "compare",
    "diff",
    "hookimpl",
    "lagged",
    "load",
    "ngram_rules",
    "plot",
    "progress",
    "report",
    "reproduce",
    "resume",
    "run",
    "runs_in",
    "series_rules",
    "sweep",
    "verify",
]


import_module("recurra.surroundings").look_out()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'recurra' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
