"""Long skips on top of the residual stream, as the speed runs of modded-nanogpt found them.

Their site is a whole transformer block. Each state here is that of the stream, and a skip changes the stream itself,
not only what the next block reads.
"""

from fractions import Fraction

from graphs.builder import Builder, sites
from graphs.errors import TopologyError
from graphs.families.arguments import whole
from graphs.topology import Topology
from graphs.weights import Parameter, Product, Sigmoid, Sum, Weight, beside, ones


def unet(depth: int, *, period: int = 1) -> Topology:
    """Mirrored skips: ``x = x + w_i s_i`` before site L + 1 - i, s_i the stream after site i.

    i counts the first half of the L sites, floor(L / 2), and so do the learned numbers w_i, which start at 1. The
    innermost skip starts where it ends, so ``(1 + w) x``. Of an odd number of sites the middle one has no skip (the
    released code has an even number).

    Source: modded-nanogpt, record 11 (no paper).
    """
    build = Builder(depth)
    known = sites(depth, period)
    half = len(known) // 2
    stream = build.stem
    states: list[str] = []
    for index, site in enumerate(known, start=1):
        mirror = len(known) + 1 - index
        if mirror <= half:
            weight = Parameter(f"skip{mirror}", ((1,),))
            stream = _joined(build, f"u{site[0]}", stream, states[mirror - 1], weight)
        stream = _residual(build, site, stream)
        states.append(stream)
    return build.topology(stream, "unet", period=period)


def x0_lambdas(depth: int, *, period: int = 1) -> Topology:
    """``x = a x + b x0`` before each site, with two learned numbers per site that start at 1 and 0.

    At the first site both act on x0, as in the released code. It starts as the residual network.

    Source: modded-nanogpt, record 9 (no paper).
    """
    build = Builder(depth)
    stream = build.stem
    for index, site in enumerate(sites(depth, period), start=1):
        lambdas: Weight = Parameter(f"lambdas{index}", ((1, 0),))
        if stream == build.stem:
            stream = build.mix(f"u{site[0]}", [stream], Product(lambdas, ones(2, 1)))
        else:
            stream = build.mix(f"u{site[0]}", [stream, build.stem], lambdas)
        stream = _residual(build, site, stream)
    return build.topology(stream, "x0_lambdas", period=period)


def long_skip(depth: int, *, start: int = 4, end: int = 7, period: int = 1) -> Topology:
    """One long skip: ``x = x + sigmoid(w) s`` before site ``end``, s the stream after site ``start``.

    There is one learned number, w, started at -1.5, a weight of 0.18. Site 0 is the stem, and one past the last
    is the output. The defaults are what was left of eleven blocks' mirrored skips.

    Source: modded-nanogpt, record 45 (no paper; later records gate the skip by the token as well, left out here).
    """
    build = Builder(depth)
    known = sites(depth, period)
    whole("start", start, 0, why="the stem is 0")
    whole("end", end, 0)
    if not start + 2 <= end <= len(known) + 1:
        raise TopologyError(
            f"a skip from {start} to {end}: it goes from i to j >= i + 2, "
            f"within 0 (stem) .. {len(known) + 1} (output) at {len(known)} sites"
        )
    weight = Sigmoid(Parameter("skip", ((Fraction(-3, 2),),)))
    states = [build.stem]
    for index, site in enumerate(known, start=1):
        stream = states[-1]
        if index == end:
            stream = _joined(build, f"u{index}", stream, states[start], weight)
        states.append(_residual(build, site, stream))
    stream = states[-1]
    if end > len(known):
        stream = _joined(build, "out", stream, states[start], weight)
    return build.topology(stream, "long_skip", start=start, end=end, period=period)


def _residual(build: Builder, site: range, stream: str) -> str:
    """The stream after the sub-layers of a site."""
    for number in site:
        stream = build.add(f"h{number}", stream, build.block(number, stream))
    return stream


def _joined(build: Builder, name: str, stream: str, state: str, weight: Weight) -> str:
    """``stream + weight state``; the two may be one."""
    if stream == state:
        return build.mix(name, [stream], Sum((ones(1, 1), weight)))
    return build.mix(name, [stream, state], beside(ones(1, 1), weight))
