"""First-party cells: one file a paper, declared here as data so that listing them imports nothing heavy."""

from __future__ import annotations

from recurra import Component, hookimpl


@hookimpl
def recurra_components() -> list[Component]:
    """Return the cells."""
    return [
        Component(
            kind="cell",
            name="rnn",
            target="recurra_cells.rnn:RNN",
            options="recurra_cells.options:RNNOptions",
            summary="Elman's simple recurrent network, tanh or relu",
            cite="Elman 1990, Finding structure in time, doi:10.1207/s15516709cog1402_1",
        ),
        Component(
            kind="cell",
            name="lstm",
            target="recurra_cells.lstm:LSTM",
            options="recurra_cells.options:LSTMOptions",
            summary="Long short-term memory with forget gate, as torch's",
            cite="Hochreiter & Schmidhuber 1997; Gers et al. 2000, doi:10.1162/089976600300015015",
        ),
        Component(
            kind="cell",
            name="gru",
            target="recurra_cells.gru:GRU",
            options="recurra_cells.options:GRUOptions",
            summary="Gated recurrent unit, reset after the product, as torch's",
            cite="Cho et al. 2014, arXiv:1406.1078",
        ),
    ]
