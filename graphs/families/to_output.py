"""Auto-compressing networks: every block is connected to the output and to nothing else but the next block."""

from fractions import Fraction

from graphs.builder import Builder, sites
from graphs.topology import Topology
from graphs.weights import Parameter, Weight, beside, ones


def to_output(depth: int, *, period: int = 1) -> Topology:
    """Auto-compressing network: ``x_i = f_i(x_{i-1})``, output ``sum_{i=0..L} x_i`` with x_0 the stem.

    The published block is a whole transformer or mixer block; with ``period`` sub-layers to a block only the
    last sub-layer of each is connected to the output.

    Source: ACN, arXiv 2506.09714, section 2.
    """
    build = Builder(depth)
    value = build.stem
    long_connections = [build.stem]
    for site in sites(depth, period):
        for number in site:
            value = build.block(number, value)
        long_connections.append(value)
    return build.topology(build.add("out", *long_connections), "to_output", period=period)


def to_output_hybrid(depth: int, *, period: int = 2) -> Topology:
    """H-ACN, between ACN and the residual network: ``x_i = g_i + a_i (x_{i-1} + m_i)``, output the sum of x_0 and all
    ``g_i + a_i m_i``.

    ``m_i`` is what the first sub-layers of site i write and ``g_i = f_i(x_{i-1} + m_i)`` what its last one does; the
    published site is a mixer block of two. A learned number a_i per site starts at 1/4: with all at 1 this is the
    residual network, at 0 an ACN. The last x_L is not read, so that a_L exists where site L has an m. The released
    code draws the start from N(0.25, 0.005); its optional clamp to [0, 1] and its norms that grow with depth are left
    out, and its language model decays the stream inside the block instead.

    Source: H-ACN, OpenReview ORSclmXC6X, from the released code of ACN's authors (hybrid_mixer.py).
    """
    build = Builder(depth)
    known = sites(depth, period)
    stream = build.stem
    sources: list[str] = [build.stem]
    weights: list[Weight] = [ones(1, 1)]
    for index, site in enumerate(known, start=1):
        share = Parameter(f"share{index}", ((Fraction(1, 4),),))
        for number in site[:-1]:
            written = build.block(number, stream)
            stream = build.add(f"v{number}", stream, written)
            sources.append(written)
            weights.append(share)
        last = build.block(site[-1], stream)
        sources.append(last)
        weights.append(ones(1, 1))
        if index < len(known):
            stream = build.mix(f"x{site[-1]}", [last, stream], beside(ones(1, 1), share))
    return build.topology(build.mix("out", sources, beside(*weights)), "to_output_hybrid", period=period)
