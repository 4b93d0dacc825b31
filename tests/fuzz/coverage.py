"""Mutates what a reader reads, led by the code that it comes to, for so many seconds.

python -m fuzz.coverage READER SECONDS

It needs atheris. An input that makes a fault is written into the folder that it is run in.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["recurra", "recurra_sources", "tomllib"]):
    from fuzz.readers import READERS, tried

SECONDS = 10
"""How long one input may take."""
MEGABYTES = 2048
"""How much memory the process may have."""


def main(name: str, seconds: str) -> None:
    """Run a reader on mutated inputs; the process ends with the last."""
    warnings.simplefilter("ignore")
    corpus = Path(tempfile.mkdtemp(prefix=f"recurra-corpus-{name}-"))
    for number, seed in enumerate(READERS[name].seeds):
        (corpus / str(number)).write_bytes(seed)
    how = [f"-max_total_time={seconds}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}"]
    atheris.Setup(
        [sys.argv[0], *how, "-max_len=4096", "-print_final_stats=1", str(corpus)],
        lambda raw: tried(name, raw),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
