"""Hyper-connections: n parallel streams, read, mixed and written by small learned matrices."""

from typing import Literal

from graphs.builder import Builder
from graphs.families.arguments import choice
from graphs.families.streams import Collapse, Expand, block_input, checked_streams, collapsed, ends, expanded
from graphs.topology import Setting, Topology
from graphs.weights import Generated, Parameter, Sum, Tanh, Times, Weight, identity, place, transpose
from graphs.weights.leaves import checked_positive

Norm = Literal["layer", "rms"]
Rescale = Literal["none", "divide", "multiply"]


def hyper(
    depth: int,
    *,
    streams: int = 4,
    dynamic: bool = False,
    tanh: bool = True,
    scale: float = 0.01,
    norm: Norm = "layer",
    expand: Expand = "copy",
    collapse: Collapse = "sum",
    rescale: Rescale = "none",
    pre_norm: bool = False,
) -> Topology:
    """Hyper-connections: ``u_k = A_m X, X_next = A_r X + B f_k(u_k)`` on ``streams`` = n streams X.

    Before block k the width connection reads all streams: ``A_m``, 1 x n, feeds the block and starts one-hot at
    stream ``(k - 1) mod n``; ``A_r``, n x n, carries the streams on and starts as the identity. After it the depth
    connection writes the output to every stream with weights ``B``, which start at one. That is the static form
    (SHC); ``dynamic`` weights (DHC) look at the token: ``s_a tanh(norm(X) W)`` is added to ``[A_m; A_r]`` (column j
    from stream j alone, by maps that the streams share) and ``s_b tanh(norm(X) W_b)`` to ``B``, both from the state
    before the block. The maps start at zero and decay, ``s_a`` and ``s_b`` start at ``scale``. ``tanh=False`` leaves
    the tanh out.

    The network starts as the residual network times n. Copies come apart by being read apart: with fewer blocks than
    streams some stay one stream for ever. Weights per block: ``n (n + 2)``, and ``d (n + 2) + 2`` more if
    ``dynamic``: the norm has no gain, as in the published runs (one could be folded into the maps).

    The paper scales the initial output projection inside blocks by sqrt(n), and does not say which way: ``rescale``
    leaves it out (the start is then the residual network), divides or multiplies, by the block hint
    ``output_init_scale``. It expands by copies and collapses by the sum; the other ends are ours, see
    :mod:`graphs.families.streams`. It does not say whether k counts sub-layers or restarts in each layer: it counts
    blocks here. ``pre_norm`` is ours: the RMS norm of a block's input is in the wiring instead of in the block (hint
    ``pre_norm`` 0; d weights a block), where a fused seam has it in one pass.

    Source: Hyper-Connections, arXiv 2409.19606, equations 2 to 6, its dynamic form, its initialisation and appendix
    J (the paper's matrices are source first; here they are transposed).
    """
    n = checked_streams(streams)
    choice("norm", norm, Norm)
    hints = _hints(n, rescale)
    start = checked_positive("scale", scale)
    build = Builder(depth)
    state = expanded(build, n, expand)

    def on_top(what: str, k: int, rows: int) -> Weight:
        """What a token adds to ``rows`` rows of weights, a column per stream."""
        seen: Weight = Generated(f"dynamic_{what}{k}", (rows, n), tuple(range(n)), each=True, norm=norm)
        return Times(Parameter(f"{what}_scale{k}", ((start,),)), Tanh(seen) if tanh else seen)

    for k in range(1, depth + 1):
        read = tuple(int(j == (k - 1) % n) for j in range(n))
        width: Weight = Parameter(f"width{k}", (read, *identity(n).entries))
        rows = tuple((1, *row) for row in identity(n).entries)
        write: Weight = Parameter(f"depth{k}", rows, ((True, *(False,) * n),) * n)
        keys: tuple[str, ...] = ()
        if dynamic:
            keys = state
            width = Sum((width, on_top("width", k, n + 1)))
            write = Sum((write, place(transpose(on_top("depth", k, 1)), (n, n + 1))))
        read_by, *carried = build.mixes([f"u{k}", *(f"g{k}_{s}" for s in range(n))], state, width, keys)
        read_by, more = block_input(build, k, read_by, pre_norm)
        written = build.block(k, read_by, hints | more)
        state = build.mixes([f"h{k}_{s}" for s in range(n)], [written, *carried], write, keys)
    settings: dict[str, Setting] = {"streams": n}
    if dynamic:
        settings |= {"dynamic": True, "tanh": tanh, "scale": start, "norm": norm}
    if rescale != "none":
        settings["rescale"] = rescale
    if pre_norm:
        settings["pre_norm"] = True
    return build.topology(collapsed(build, state, collapse), "hyper", **settings, **ends(expand, collapse))


def _hints(n: int, rescale: Rescale) -> dict[str, float]:
    choice("rescale", rescale, Rescale)
    return {} if rescale == "none" else {"output_init_scale": n ** (-0.5 if rescale == "divide" else 0.5)}
