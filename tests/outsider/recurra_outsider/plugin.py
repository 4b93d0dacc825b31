"""What this distribution offers."""

from recurra import Component, hookimpl


@hookimpl
def recurra_components():
    """Return the cell, the encoder and the target."""
    return [
        Component(
            kind="cell",
            name="leaky",
            target="recurra_outsider.leaky:Leaky",
            options="recurra_outsider.options:LeakyOptions",
            summary="Leaky integrator",
            cite="Jaeger et al. 2007, doi:10.1016/j.neunet.2007.04.016",
        ),
        Component(
            kind="encoder",
            name="waves",
            target="recurra_outsider.waves:Waves",
            options="recurra_outsider.options:WavesOptions",
            summary="each symbol as sines and cosines of its number",
            cite="Vaswani et al. 2017, arXiv:1706.03762",
        ),
        Component(
            kind="target",
            name="recall",
            target="recurra_outsider.recall:Recall",
            options="recurra_outsider.options:RecallOptions",
            summary="the label of a sequence, asked for where a mark stands",
            api="1.1",
        ),
    ]
