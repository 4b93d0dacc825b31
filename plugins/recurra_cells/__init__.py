"""First-party cells, one file a paper.

They are declared here as data, so that listing them imports nothing heavy.
"""

from __future__ import annotations

from recurra import Component, hookimpl

GATED = (
    ("rnn", "RNN", "Elman's simple recurrent network, tanh or relu"),
    (
        "lstm",
        "LSTM",
        (
            "Long short-term memory, as torch's; or with peepholes, layer norm, projection,"
            " coupled gates"
        ),
    ),
    ("gru", "GRU", "Gated recurrent unit, as torch's; or with the reset before the product"),
    ("mgu", "MGU", "Minimal gated unit: one gate resets and updates"),
    ("indrnn", "IndRNN", "Independently recurrent network: each unit sees its own past alone"),
    ("ligru", "LiGRU", "Light gated recurrent unit: no reset gate, a relu candidate"),
    (
        "slstm",
        "SLSTM",
        "Exponential gates and an averaging memory, stabilised; recurrence by heads",
    ),
)
"""Name, class and summary of each cell of gates."""

SCANS = (
    ("mingru", "MinGRU", "GRU whose gates read the input alone: a scan"),
    ("minlstm", "MinLSTM", "LSTM whose gates read the input alone and add up to 1: a scan"),
    ("lru", "LRU", "Linear recurrent unit: complex eigenvalues within the unit disc, a scan"),
    ("rglru", "RGLRU", "Real-gated linear recurrent unit of Griffin and Hawk: a scan"),
    ("sru", "SRU", "Simple recurrent unit, first version: forget gate and highway, a scan"),
    (
        "qrnn",
        "QRNN",
        "Quasi-recurrent network: gates by a causal convolution, then pooling: a scan",
    ),
)
"""Name, class and summary of each cell whose recurrence is linear in the state."""

MATRICES = (
    (
        "mlstm",
        "MLSTM",
        "LSTM with a matrix memory a head and exponential input gates: parallel in chunks",
    ),
    (
        "gated_delta",
        "GatedDelta",
        ("Matrix memory that decays and is corrected by the delta rule; gated = false is DeltaNet"),
    ),
)
"""Name, class and summary of each cell whose state is a matrix."""

PAPERS = {
    "rnn": "Elman 1990, Finding structure in time, doi:10.1207/s15516709cog1402_1",
    "lstm": "Hochreiter & Schmidhuber 1997; Gers et al. 2000, doi:10.1162/089976600300015015",
    "gru": "Cho et al. 2014, arXiv:1406.1078",
    "mgu": "Zhou et al. 2016, arXiv:1603.09420",
    "indrnn": "Li et al. 2018, arXiv:1803.04831",
    "ligru": "Ravanelli et al. 2018, arXiv:1803.10225",
    "slstm": "Beck et al. 2024, arXiv:2405.04517",
    "mingru": "Feng et al. 2024, arXiv:2410.01201",
    "minlstm": "Feng et al. 2024, arXiv:2410.01201",
    "lru": "Orvieto et al. 2023, arXiv:2303.06349",
    "rglru": "De et al. 2024, arXiv:2402.19427",
    "sru": "Lei et al. 2017, arXiv:1709.02755v1",
    "qrnn": "Bradbury et al. 2016, arXiv:1611.01576",
    "mlstm": "Beck et al. 2024, arXiv:2405.04517",
    "gated_delta": "Yang et al. 2024, arXiv:2412.06464; DeltaNet arXiv:2406.06484",
}
"""Where each cell comes from."""

TABLES = {"options": GATED, "scan_options": SCANS, "matrix_options": MATRICES}
"""The cells by the module that holds their options."""


@hookimpl
def recurra_components() -> list[Component]:
    """Return the cells."""
    cells = []
    for options_module, rows in TABLES.items():
        for name, class_name, summary in rows:
            cell = Component(
                kind="cell",
                name=name,
                target=f"recurra_cells.{name}:{class_name}",
                options=f"recurra_cells.{options_module}:{class_name}Options",
                summary=summary,
                cite=PAPERS[name],
            )
            cells.append(cell)
    return cells
