"""Hyper-connections: n parallel streams, read, mixed and written by small learned matrices."""

from graphs.builder import Builder
from graphs.errors import TopologyError
from graphs.topology import Topology
from graphs.weights import Parameter, ones

MAX_STREAMS = 16


def hyper(depth: int, *, streams: int = 4) -> Topology:
    """Static hyper-connections with ``streams`` = n copies of the stem, collapsed by their sum.

    Before block k the width connection reads all streams: row 0, ``A_m``, feeds the block and starts one-hot at
    stream ``(k - 1) mod n``; rows 1..n, ``A_r``, carry the streams on and start as the identity. After it the
    depth connection writes the output to every stream with weights ``B``, which start at one. The network starts
    as the residual network times n. There are ``n (n + 2)`` weights per block.

    Source: Hyper-Connections, arXiv 2409.19606, equations 2 to 6 and its initialisation (the paper's matrices
    are source first; here they are transposed).
    """
    if isinstance(streams, bool) or not isinstance(streams, int) or streams < 1:
        raise TopologyError(f"streams is {streams!r}; hyper-connections keep at least one stream")
    if streams > MAX_STREAMS:
        raise TopologyError(f"streams is {streams}; at most {MAX_STREAMS}, each block mixes all pairs of them")
    n = streams
    identity = tuple(tuple(int(i == j) for j in range(n)) for i in range(n))
    build = Builder(depth)
    state = build.mixes([f"h0_{s}" for s in range(n)], [build.stem], ones(n, 1))
    for k in range(1, depth + 1):
        read = tuple(int(j == (k - 1) % n) for j in range(n))
        width = Parameter(f"width{k}", (read, *identity))
        block_input, *carried = build.mixes([f"u{k}", *(f"g{k}_{s}" for s in range(n))], state, width)
        written = build.block(k, block_input)
        depth_rows = tuple((1, *row) for row in identity)
        learned = ((True, *(False,) * n),) * n
        state = build.mixes(
            [f"h{k}_{s}" for s in range(n)],
            [written, *carried],
            Parameter(f"depth{k}", depth_rows, learned),
        )
    return build.topology(build.add("out", *state), "hyper", streams=n)
