"""Dense connections: after each block a learned average, or before it a learned projection, of all earlier outputs."""

from typing import Literal

from graphs.builder import Builder, sites
from graphs.families.arguments import choice, whole
from graphs.topology import Topology
from graphs.weights import MATRIX, Parameter

Output = Literal["last", "all"]


def dense(depth: int, *, inner: bool = True, period: int = 1, dilation: int = 1, every: int = 1) -> Topology:
    """Depth-weighted average: ``X_i = Y_{i-1} + f_i(Y_{i-1})``, ``Y_i = sum_j a_ij X_j`` over ``j <= i``.

    ``X_0 = Y_0`` is the stem, the output is ``Y_L``. The weights start one-hot at ``j = i``, so with ``inner``
    the network starts as the residual network. ``inner=False`` drops the block's residual: ``X_i = f_i(Y_{i-1})``.
    ``period`` sub-layers make one published block; ``dilation`` k keeps the sources ``j = i mod k``. There are
    ``L (L + 3) / 2`` weights at period and dilation 1. ``every`` is DenseFormer's own period p: an average after every
    p-th block, over all sources, and ``Y_i = X_i`` after the others. Its training code averages every p-th block only,
    which is ``period`` p here.

    Source: DenseFormer, arXiv 2402.02622, section 3; initial values from its released code.
    """
    whole("dilation", dilation, 1, why="every dilation-th block is a source")
    whole("every", every, 1, why="there is an average after every so many blocks")
    build = Builder(depth)
    value = build.stem
    history = [build.stem]
    for i, site in enumerate(sites(depth, period), start=1):
        for number in site:
            output = build.block(number, value)
            value = build.add(f"x{number}", value, output) if inner else output
        history.append(value)
        if i % every == 0:
            sources = history[i % dilation :: dilation]
            one_hot = (*(0,) * (len(sources) - 1), 1)
            value = build.mix(f"h{site[-1]}", sources, Parameter(f"average{site[-1]}", (one_hot,)))
    return build.topology(value, "dense", inner=inner, period=period, dilation=dilation, every=every)


def densenet(depth: int, *, inner: bool = True, output: Output = "last", period: int = 1) -> Topology:
    """Concatenation and projection: ``u_i = P_i [X_0, .., X_{i-1}]``, ``X_i = u_i + f_i(u_i)``, X_0 the stem.

    P_i is dim x (i dim), without bias, and starts as stacked identities: u_i starts as the sum of all X_j. There are
    ``dim^2 L (L + 1) / 2`` weights. With ``inner`` the stem's share doubles at every block at the start (the released
    code has a norm after each block, which tames it). ``inner=False`` drops the block's residual, ``X_i = f_i(u_i)``,
    as in DenseNet, whose blocks write fewer channels than they read; here all hidden states have dim channels, so that
    P_i stands for what the block's first map did with the concatenation. The ``output`` is the last X, or a projection
    of all of them, which adds ``dim^2 (L + 1)`` weights. ``period`` sub-layers make one published block.

    Source: DenseNet, arXiv 1608.06993, equation 2, in the form of the Mixer of ACN's comparison (arXiv 2506.09714, its
    released code: inner residuals kept, the last output alone).
    """
    choice("output", output, Output)
    build = Builder(depth)
    history = [build.stem]
    for site in sites(depth, period):
        value = _projected(build, f"u{site[0]}", history, f"project{site[0]}")
        for number in site:
            written = build.block(number, value)
            value = build.add(f"x{number}", value, written) if inner else written
        history.append(value)
    if output == "all":
        value = _projected(build, "out", history, "project_out")
    return build.topology(value, "densenet", inner=inner, output=output, period=period)


def _projected(build: Builder, name: str, sources: list[str], parameter: str) -> str:
    return build.mix(name, sources, Parameter(parameter, ((1,) * len(sources),), grain=MATRIX))
