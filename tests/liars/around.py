"""Losses that are right, and change what is everybody's: one for each aspect of the world."""

from __future__ import annotations

import builtins
import decimal
import gc
import locale
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from liars.losses import Right
from recurra import Component
from recurra.catalog import Entry, Plugin


def _another_locale() -> str:
    """Choose one of the two that every system has and that is not the current one."""
    return locale.setlocale(
        locale.LC_ALL, "C" if "UTF" in locale.setlocale(locale.LC_ALL) else "C.UTF-8"
    )


def _one_processor_less() -> None:
    numbers = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, numbers[1:] or numbers)


def _smaller_limit() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))


EFFECTS: dict[str, Callable[[], object]] = {
    "torch's random numbers": lambda: torch.rand(1),
    "numpy's random numbers": lambda: np.random.random(),
    "Python's random numbers": lambda: random.random(),
    "torch's default type": lambda: torch.set_default_dtype(torch.float64),
    "torch's default device": lambda: torch.set_default_device("meta"),
    "the number of threads": lambda: torch.set_num_threads(3),
    "whether gradients are wanted": lambda: torch.set_grad_enabled(False),
    "whether algorithms are deterministic": lambda: torch._C._set_deterministic_algorithms(True),
    "the precision of products": lambda: torch.set_float32_matmul_precision("medium"),
    "the hooks of all modules": lambda: torch.nn.modules.module.register_module_forward_hook(print),
    "what numpy does about floating-point errors": lambda: np.seterr(all="ignore"),
    "the filters of warnings": lambda: warnings.filterwarnings("ignore", "nothing"),
    "the environment": lambda: os.environ.update(LIAR="1"),
    "the current folder": lambda: os.chdir("/"),
    "the folders of modules": lambda: sys.path.append("/nowhere"),
    "the locale": _another_locale,
    "the handlers of signals": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "what is done about exceptions": lambda: setattr(sys, "excepthook", print),
    "logging": lambda: logging.disable(5),
    "how deep calls may go": lambda: sys.setrecursionlimit(5432),
    "whether garbage is collected": gc.disable,
    "when garbage is collected": lambda: gc.set_threshold(123456),
    "how often threads take turns": lambda: sys.setswitchinterval(0.1),
    "whether anomalies are looked for": lambda: torch.autograd.set_detect_anomaly(
        True, check_nan=False
    ),
    "what torch computes with": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "whether types are cast": lambda: torch.set_autocast_enabled("cpu", True),
    "how torch prints": lambda: torch.set_printoptions(precision=2),
    "how numpy prints": lambda: np.set_printoptions(precision=2),
    "whom numpy calls about errors": lambda: np.seterrcall(lambda *given: None),
    "how decimal numbers are computed": lambda: setattr(decimal.getcontext(), "prec", 5),
    "the mask of new files": lambda: os.umask(0o007),
    "the folder of temporary files": lambda: setattr(tempfile, "tempdir", "/"),
    "how long a socket waits": lambda: socket.setdefaulttimeout(3.0),
    "how nice the process is": lambda: os.nice(1),
    "the processors that it may use": _one_processor_less,
    "timers": lambda: signal.setitimer(signal.ITIMER_REAL, 3000),
    "limits of the process": _smaller_limit,
    "what watches each call": lambda: sys.setprofile(lambda *given: None),
    "standard input and output": lambda: setattr(sys, "stdin", None),
    "how warnings are shown": lambda: setattr(warnings, "showwarning", print),
    "loggers": lambda: logging.getLogger("recurra").setLevel(50),
    "the names that Python knows": lambda: setattr(builtins, "liar", 1),
    "the functions of torch, numpy and Python": lambda: setattr(functional, "gelu", print),
}
"""How each aspect of the world is changed, by its name."""

TRACES: dict[str, Callable[[], object]] = {
    "prints 'a word": lambda: os.write(1, b"a word"),
    "prints 'an error": lambda: os.write(2, b"an error"),
    "leaves a process running": lambda: CHILDREN.append(subprocess.Popen(["sleep", "9"])),
    "writes or touches": (
        lambda: Path(tempfile.gettempdir(), f"recurra-liar-{os.getpid()}").write_text("x")
    ),
    "writes or touches ": lambda: os.utime(__file__),
}
"""What is left behind otherwise, by how it is told."""
CHILDREN: list[subprocess.Popen[bytes]] = []


class Disturbs(Right):
    """Does one of these things when it is called, in whatever mode."""

    effect = ""

    def forward(self, output, target):
        (EFFECTS | TRACES)[self.effect]()
        return super().forward(output, target)


def disturbing(effect: str) -> Entry:
    """Return a loss that has an effect, as the catalog would hold it."""
    Disturbs.effect = effect
    component = Component(
        "loss", "disturbs", "liars.around:Disturbs", "liars.losses:Plain", "a loss of the tests"
    )
    return Entry(component, Plugin("liars", "recurra-liars", "1.0", "liars"))
