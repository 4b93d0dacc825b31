"""First-party cells: one file a paper, declared here as data so that listing them imports nothing
heavy.
"""

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
            summary=(
                "Long short-term memory, as torch's; or with peepholes, layer norm, projection,"
                " coupled gates"
            ),
            cite="Hochreiter & Schmidhuber 1997; Gers et al. 2000, doi:10.1162/089976600300015015",
        ),
        Component(
            kind="cell",
            name="gru",
            target="recurra_cells.gru:GRU",
            options="recurra_cells.options:GRUOptions",
            summary="Gated recurrent unit, as torch's; or with the reset before the product",
            cite="Cho et al. 2014, arXiv:1406.1078",
        ),
        Component(
            kind="cell",
            name="mgu",
            target="recurra_cells.mgu:MGU",
            options="recurra_cells.options:MGUOptions",
            summary="Minimal gated unit: one gate resets and updates",
            cite="Zhou et al. 2016, arXiv:1603.09420",
        ),
        Component(
            kind="cell",
            name="indrnn",
            target="recurra_cells.indrnn:IndRNN",
            options="recurra_cells.options:IndRNNOptions",
            summary="Independently recurrent network: each unit sees its own past alone",
            cite="Li et al. 2018, arXiv:1803.04831",
        ),
        Component(
            kind="cell",
            name="ligru",
            target="recurra_cells.ligru:LiGRU",
            options="recurra_cells.options:LiGRUOptions",
            summary="Light gated recurrent unit: no reset gate, a relu candidate",
            cite="Ravanelli et al. 2018, arXiv:1803.10225",
        ),
        Component(
            kind="cell",
            name="slstm",
            target="recurra_cells.slstm:SLSTM",
            options="recurra_cells.options:SLSTMOptions",
            summary="Exponential gates and an averaging memory, stabilised; recurrence by heads",
            cite="Beck et al. 2024, arXiv:2405.04517",
        ),
        Component(
            kind="cell",
            name="mingru",
            target="recurra_cells.mingru:MinGRU",
            options="recurra_cells.scan_options:MinGRUOptions",
            summary="GRU whose gates read the input alone: a scan",
            cite="Feng et al. 2024, arXiv:2410.01201",
        ),
        Component(
            kind="cell",
            name="minlstm",
            target="recurra_cells.minlstm:MinLSTM",
            options="recurra_cells.scan_options:MinLSTMOptions",
            summary="LSTM whose gates read the input alone and add up to 1: a scan",
            cite="Feng et al. 2024, arXiv:2410.01201",
        ),
        Component(
            kind="cell",
            name="lru",
            target="recurra_cells.lru:LRU",
            options="recurra_cells.scan_options:LRUOptions",
            summary="Linear recurrent unit: complex eigenvalues within the unit disc, a scan",
            cite="Orvieto et al. 2023, arXiv:2303.06349",
        ),
        Component(
            kind="cell",
            name="rglru",
            target="recurra_cells.rglru:RGLRU",
            options="recurra_cells.scan_options:RGLRUOptions",
            summary="Real-gated linear recurrent unit of Griffin and Hawk: a scan",
            cite="De et al. 2024, arXiv:2402.19427",
        ),
        Component(
            kind="cell",
            name="sru",
            target="recurra_cells.sru:SRU",
            options="recurra_cells.scan_options:SRUOptions",
            summary="Simple recurrent unit, first version: forget gate and highway, a scan",
            cite="Lei et al. 2017, arXiv:1709.02755v1",
        ),
        Component(
            kind="cell",
            name="qrnn",
            target="recurra_cells.qrnn:QRNN",
            options="recurra_cells.scan_options:QRNNOptions",
            summary="Quasi-recurrent network: gates by a causal convolution, then pooling: a scan",
            cite="Bradbury et al. 2016, arXiv:1611.01576",
        ),
        Component(
            kind="cell",
            name="mlstm",
            target="recurra_cells.mlstm:MLSTM",
            options="recurra_cells.matrix_options:MLSTMOptions",
            summary=(
                "LSTM with a matrix memory a head and exponential input gates: parallel in chunks"
            ),
            cite="Beck et al. 2024, arXiv:2405.04517",
        ),
        Component(
            kind="cell",
            name="gated_delta",
            target="recurra_cells.gated_delta:GatedDelta",
            options="recurra_cells.matrix_options:GatedDeltaOptions",
            summary=(
                "Matrix memory that decays and is corrected by the delta rule; gated = false is"
                " DeltaNet"
            ),
            cite="Yang et al. 2024, arXiv:2412.06464; DeltaNet arXiv:2406.06484",
        ),
    ]
