"""Residual networks whose branches are gated: by the token, or by chance."""

from fractions import Fraction

from graphs.builder import Builder, sites
from graphs.families.arguments import real
from graphs.topology import Topology
from graphs.weights import CHANNEL, Bernoulli, Constant, Generated, Parameter, Sigmoid, Sum, Times, ones


def highway(depth: int, *, bias: float = -1.0) -> Topology:
    """``h_l = T y_l + (1 - T) h_{l-1}``, ``y_l = f_l(h_{l-1})``, with ``T = sigmoid(W_l h_{l-1} + b_l)`` per channel.

    dim * dim + dim weights a block. The biases b_l start at ``bias``, negative so that a block first carries its
    input. The paper names -1 and -3 and tries -1 to -10. It draws W_l at random; here it starts at zero, so that the
    first wiring is one matrix.

    Source: Highway Networks, arXiv 1505.00387, equation 3 and section 2.2.
    """
    real("bias", bias)
    build = Builder(depth)
    stream = build.stem
    for number in range(1, depth + 1):
        output = build.block(number, stream)
        gate = Generated(f"gate{number}", (1, 1), (0,), norm="none", grain=CHANNEL)
        carried = Sigmoid(Sum((gate, Parameter(f"bias{number}", ((bias,),), grain=CHANNEL))))
        row = Sum((Constant(((1, 0),)), Times(carried, Constant(((-1, 1),)))))
        stream = build.mix(f"h{number}", [stream, output], row, keys=[stream])
    return build.topology(stream, "highway", bias=float(bias))


def stochastic_depth(depth: int, *, last: float = 0.5, period: int = 1) -> Topology:
    """``h_l = h_{l-1} + b_l f_l(h_{l-1})``, b_l 1 with probability ``p_l`` and else 0, drawn anew in each step.

    ``p_l = 1 - l / L (1 - last)`` falls linearly over the L sites; the sub-layers of a site are dropped together. In
    evaluation b_l is p_l. No weights. A dropped block still runs here, so that a step takes as long as any other.

    Source: Stochastic Depth, arXiv 1603.09382, equations 2, 4 and 5 (its site is a residual block).
    """
    real("last", last, 0, 1)
    build = Builder(depth)
    stream = build.stem
    known = sites(depth, period)
    for index, site in enumerate(known, start=1):
        keep = 1 - Fraction(index, len(known)) * (1 - Fraction(last))
        row = ones(1, 2) if keep == 1 else Bernoulli(f"drop{index}", ((1, keep),))
        for number in site:
            stream = build.mix(f"h{number}", [stream, build.block(number, stream)], row)
    return build.topology(stream, "stochastic_depth", last=float(last), period=period)
