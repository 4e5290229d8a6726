"""DenseFormer: a learned average over all earlier outputs after each block."""

from graphs.builder import Builder, sites
from graphs.errors import TopologyError
from graphs.topology import Topology
from graphs.weights import Parameter


def dense(depth: int, *, inner: bool = True, period: int = 1, dilation: int = 1) -> Topology:
    """Depth-weighted average: ``X_i = Y_{i-1} + f_i(Y_{i-1})``, ``Y_i = sum_j a_ij X_j`` over ``j <= i``.

    ``X_0 = Y_0`` is the stem, the output is ``Y_L``. The weights start one-hot at ``j = i``, so with ``inner``
    the network starts as the residual network. ``inner=False`` drops the block's residual: ``X_i = f_i(Y_{i-1})``.
    ``period`` sub-layers make one published block; ``dilation`` k keeps the sources ``j = i mod k``. There are
    ``L (L + 3) / 2`` weights at period and dilation 1.

    Source: DenseFormer, arXiv 2402.02622, section 3; initial values from its released code.
    """
    if isinstance(dilation, bool) or not isinstance(dilation, int) or dilation < 1:
        raise TopologyError(f"dilation is {dilation!r}; every dilation-th block is a source, so at least 1")
    build = Builder(depth)
    value = build.stem
    history = [build.stem]
    for i, site in enumerate(sites(depth, period), start=1):
        for number in site:
            output = build.block(number, value)
            value = build.add(f"x{number}", value, output) if inner else output
        history.append(value)
        sources = history[i % dilation :: dilation]
        one_hot = (*(0,) * (len(sources) - 1), 1)
        value = build.mix(f"h{site[-1]}", sources, Parameter(f"average{site[-1]}", (one_hot,)))
    return build.topology(value, "dense", inner=inner, period=period, dilation=dilation)
