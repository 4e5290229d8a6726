"""The residual network."""

from graphs.builder import Builder
from graphs.topology import Topology


def residual(depth: int) -> Topology:
    """Pre-norm residual network: ``h_l = h_{l-1} + f_l(h_{l-1})``, h_0 = x0, output h_L.

    Source: He et al., Identity Mappings in Deep Residual Networks, arXiv 1603.05027, equation 3.
    """
    build = Builder(depth)
    stream = build.stem
    for number in range(1, depth + 1):
        stream = build.add(f"h{number}", stream, build.block(number, stream))
    return build.topology(stream, "residual")
