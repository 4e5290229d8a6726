"""Residual networks whose branches are scaled: by fixed numbers, learned ones, or by what goes on inside blocks.

All are ``x <- A x + s f(N(x))``. The scale s of a branch is a weight of the wiring; what a method asks of N, f and
the training of f leaves as hints (see :attr:`graphs.Topology.block_hints`).
"""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Literal

from graphs.builder import Builder, sites
from graphs.families.arguments import choice, real, whole
from graphs.topology import Norm, Setting, Topology
from graphs.weights import CHANNEL, SCALAR, Constant, Grain, Number, Parameter, Weight, ones

Scale = Literal["1/L", "1/sqrt(L)", "constant"]
Start = Literal["depth", "constant"]


def scaled(depth: int, *, scale: Scale = "1/L", value: float = 1.0) -> Topology:
    """``h_l = h_{l-1} + s f_l(h_{l-1})``, one fixed s for all L blocks: 1 / L, 1 / sqrt(L), or ``value`` if constant.

    No weights. 1 / L keeps every order of the residual expansion finite; 1 / sqrt(L) does so for independent blocks
    and is reported to reach a higher accuracy.

    Source: Dherin and Munn, On residual network depth, arXiv 2510.03470 (the scaling derived from the expansion).
    """
    choice("scale", scale, Scale)
    real("value", value)
    build = Builder(depth)  # here, so that a wrong depth is named before it is divided by
    by: dict[str, Number] = {"1/L": Fraction(1, depth), "1/sqrt(L)": 1 / math.sqrt(depth), "constant": value}
    row = Constant(((1, by[scale]),))
    return _stream(build, 1, lambda site, number: row, None, "scaled", scale=scale, value=float(value))


def depth_mup(depth: int, *, exponent: float = 0.5, base: int = 2) -> Topology:
    """``h_l = h_{l-1} + m^-a f_l(h_{l-1})`` with m = depth / ``base`` and a = ``exponent``; no weights.

    With it go, for the blocks' weight matrices, the learning rate times ``m^(a - 1)`` and Adam's epsilon times
    ``m^-a`` (hints ``lr_scale`` and ``eps_scale``). ``exponent`` 0.5 is Depth-muP, 1 is CompleteP. ``base`` is the
    depth at which rates were tuned, counted in blocks as depth is; at that depth this is the residual network.
    The released code scales rates and epsilons of the blocks' norms and biases too; our hints leave those alone.

    Source: Depth-muP, arXiv 2310.02244; CompleteP, arXiv 2505.01618, table 1 and its released code. Neither has a
    default base; 2 is ours.
    """
    real("exponent", exponent)
    whole("base", base, 1, why="the depth at which rates were tuned")
    build = Builder(depth)
    ratio = Fraction(depth, base)
    row = Constant(((1, _power(ratio, -exponent)),))
    hints = {"lr_scale": _power(ratio, exponent - 1), "eps_scale": _power(ratio, -exponent)}
    return _stream(
        build, 1, lambda site, number: row, lambda site: hints, "depth_mup", exponent=float(exponent), base=base
    )


def skipinit(depth: int, *, start: float = 0.0) -> Topology:
    """``h_l = h_{l-1} + a_l f_l(h_{l-1})``, a learned number a_l per block started at ``start``, blocks without norm.

    L weights. The paper starts at 0, or at any value up to 1 / sqrt(L). Hint ``pre_norm`` 0: its nets drop their
    batch norms.

    Source: SkipInit, arXiv 2002.10444, section 4 (De and Smith).
    """
    real("start", start)
    return _stream(Builder(depth), 1, _learned(start), lambda site: {"pre_norm": 0}, "skipinit", start=float(start))


def rezero(depth: int, *, period: int = 1) -> Topology:
    """``h_l = h_{l-1} + a f_l(h_{l-1})``, a learned number a per site started at 0, blocks without norm.

    One weight per site: the sub-layers of a site share it, as attention and FFN do in the released transformer
    (``period`` 2). Hint ``pre_norm`` 0.

    Source: ReZero, arXiv 2003.04887, equation 3 and its released code.
    """
    row = _learned(0)
    return _stream(
        Builder(depth),
        period,
        lambda site, number: row(site, site),
        lambda site: {"pre_norm": 0},
        "rezero",
        period=period,
    )


def layerscale(depth: int, *, start: Start = "depth", value: float = 1e-4, period: int = 1) -> Topology:
    """``h_l = h_{l-1} + diag(g_l) f_l(h_{l-1})``, a learned gain per channel and block; depth * dim weights.

    ``start`` depth is the paper's: gains of 0.1 up to 18 layers, 1e-5 up to 24, 1e-6 beyond, a layer being a site of
    ``period`` sub-layers, each with gains of its own. ``start`` constant is ``value``. The released code is not the
    paper's rule: 1e-4 unless told otherwise, and 1e-5 for its narrow net of 36 layers.

    Source: CaiT, arXiv 2103.17239, section 2.
    """
    choice("start", start, Start)
    real("value", value)
    build = Builder(depth)
    layers = len(sites(depth, period))
    by_depth = 0.1 if layers <= 18 else 1e-5 if layers <= 24 else 1e-6
    row = _learned(by_depth if start == "depth" else value, grain=CHANNEL)
    return _stream(build, period, row, None, "layerscale", start=start, value=float(value), period=period)


def fixup(depth: int, *, layers: int = 2) -> Topology:
    """``h_l = h_{l-1} + s_l f_l(h_{l-1})``, a learned number per block started at 1, blocks without norm.

    L weights, at a tenth of the learning rate. Hints: ``inner_init_scale`` ``L^(-1 / (2 m - 2))`` for blocks of m =
    ``layers`` linear maps, ``output_init_scale`` 0 (the last map starts at zero), ``pre_norm`` 0. The paper's scalar
    biases before each map and its zero classifier are the blocks' and the head's, and are left out.

    Source: Fixup, arXiv 1901.09321, section 3 and its released code (a block of 2 maps).
    """
    whole("layers", layers, 2, why="the initial scale is L^(-1 / (2 layers - 2))")
    build = Builder(depth)
    hints = {
        "inner_init_scale": _power(Fraction(depth), -1 / (2 * layers - 2)),
        "output_init_scale": 0,
        "pre_norm": 0,
    }
    return _stream(build, 1, _learned(1, group="tenth"), lambda site: hints, "fixup", layers=layers)


def lns(depth: int, *, period: int = 1) -> Topology:
    """LayerNorm Scaling: ``h_l = h_{l-1} + f_l(N(h_{l-1}) / sqrt(l))``, N the norm inside the blocks of layer l.

    A layer is a site of ``period`` sub-layers (hint ``norm_scale`` 1 / sqrt(l)); no weights. The residual stream
    and the final norm are not scaled. It is not meant to be joined with initial values divided by sqrt(2 L).

    Source: LayerNorm Scaling, arXiv 2502.05795, equation 2 and its released code.
    """
    row = ones(1, 2)
    return _stream(
        Builder(depth),
        period,
        lambda site, number: row,
        lambda site: {"norm_scale": 1 / math.sqrt(site)},
        "lns",
        period=period,
    )


def deepnorm(depth: int, *, period: int = 2) -> Topology:
    """``h_l = LayerNorm(a h_{l-1} + f_l(h_{l-1}))`` with ``a = (2 N)^(1/4)`` after every sub-layer, N sites in all.

    A post-norm: 2 depth * dim weights, the norms' gains and biases. Hints: ``init_scale`` ``(8 N)^(-1/4)``,
    ``pre_norm`` 0. A site is a transformer layer, of two sub-layers. The paper scales the initial values of FFN, value
    and output maps and leaves queries and keys alone; our hint scales every map of a block.

    Source: DeepNorm, arXiv 2203.00555, figure 2, encoder-only or decoder-only; released in torchscale.
    """
    build = Builder(depth)
    layers = len(sites(depth, period))
    row = Constant(((math.sqrt(math.sqrt(2 * layers)), 1),))
    hints = {"init_scale": 1 / math.sqrt(math.sqrt(8 * layers)), "pre_norm": 0}
    return _stream(
        build,
        period,
        lambda site, number: row,
        lambda site: hints,
        "deepnorm",
        lambda number: Norm(f"norm{number}", "layer"),
        period=period,
    )


def _stream(
    build: Builder,
    period: int,
    row: Callable[[int, int], Weight],
    hints: Callable[[int], Mapping[str, Number]] | None,
    family: str,
    norm: Callable[[int], Norm] | None = None,
    /,
    **settings: Setting,
) -> Topology:
    """``h_l = row . (h_{l-1}, f_l(h_{l-1}))``: weights by site and block number, hints by site, norms by number."""
    stream = build.stem
    for site, numbers in enumerate(sites(build.depth, period), start=1):
        for number in numbers:
            output = build.block(number, stream, hints(site) if hints else None)
            after = norm(number) if norm else None
            stream = build.mix(f"h{number}", [stream, output], row(site, number), norm=after)
    return build.topology(stream, family, **settings)


def _learned(start: Number, group: str = "mix", grain: Grain = SCALAR) -> Callable[[int, int], Weight]:
    """Rows ``[1, s]`` with s learned, named after the number they are asked for."""

    def row(site: int, number: int) -> Weight:
        return Parameter(f"scale{number}", ((1, start),), ((False, True),), group, grain)

    return row


def _power(base: Fraction, exponent: float) -> Number:
    """Exact where the exponent is whole."""
    return base ** int(exponent) if float(exponent).is_integer() else float(base) ** exponent
