"""Auto-compressing networks: every block is connected to the output and to nothing else but the next block."""

from graphs.builder import Builder, sites
from graphs.topology import Topology


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
