"""Manifold-constrained hyper-connections: n streams whose mixing is doubly stochastic."""

import math
from typing import Literal

from graphs.builder import Builder
from graphs.errors import TopologyError
from graphs.families.arguments import choice
from graphs.families.streams import Collapse, Expand, block_input, checked_streams, collapsed, ends, expanded
from graphs.topology import Setting, Topology
from graphs.weights import (
    Generated,
    Matrix,
    Parameter,
    Permutations,
    Sigmoid,
    Sinkhorn,
    Softmax,
    Sum,
    Times,
    Weight,
    beside,
    identity,
    stacked,
)
from graphs.weights.functions import MAX_PERMUTED
from graphs.weights.leaves import checked_positive

Mixing = Literal["sinkhorn", "permutations", "identity"]

FAR = -8  # the logit of what is not mixed at the start: exp(-8) = 0.0003


def mhc(
    depth: int,
    *,
    streams: int = 4,
    mixing: Mixing = "sinkhorn",
    iterations: int = 20,
    scale: float = 0.01,
    dynamic: bool = True,
    expand: Expand = "copy",
    collapse: Collapse = "sum",
    pre_norm: bool = False,
) -> Topology:
    """Manifold-constrained hyper-connections (mHC) with ``streams`` = n, and two of its kin.

    ``X' = H_res X + H_post f(H_pre X)`` with ``H_pre = sigmoid(a_pre)``, ``H_post = 2 sigmoid(a_post)`` and, by
    ``mixing``, ``H_res = Sinkhorn(exp(a_res))`` of that many ``iterations`` (columns, then rows: mHC), a softmax
    mixture of all n! permutation matrices (mHC-lite, exactly doubly stochastic, n up to 5) or the identity. Each
    ``a = alpha norm(vec X) phi + b`` with an RMS norm over all n d channels; its gain is folded into phi, which
    starts at zero and decays; the ``alpha`` start at ``scale``. ``dynamic=False`` keeps ``b`` alone.

    The papers state no start of ``b`` and no expansion or collapse, and mHC none of phi. We choose a start that
    equals the residual network up to a positive factor per reader, in which no two streams are alike (given as many
    blocks as streams): ``b_pre`` is +1 for stream ``(k - 1) mod n`` and -1 for the others, ``b_post`` 0 (so that
    ``H_post`` is 1), ``b_res`` 0 on the diagonal (the identity permutation) and -8 elsewhere. These are the values
    of mHC-lite's code, but for ``b_post``, which is +1 and -1 there: no residual network then. Streams expand by
    copies and collapse by the sum; see :mod:`graphs.families.streams` for the other ends. Mixing is idle in the
    first block with copies, and with the sum or mean in the last one, whose columns sum to one.

    ``pre_norm`` puts the RMS norm of a block's input into the wiring, where a fused seam has it in one pass (hint
    ``pre_norm`` 0; d weights a block).

    Weights per block: ``(n^2 + 2 n) (n d + 1) + 3`` with Sinkhorn; n! or 0 stand in n^2's place for the others (and
    2 for 3 with the identity); static, ``n^2 + 2 n`` and so on.

    Source: mHC, arXiv 2512.24880 (its mappings are destination first, as here); mHC-lite, arXiv 2601.05732; the
    identity as mixing is the identity hyper-connections of Tian Xie (2026-02-27).
    """
    n = checked_streams(streams)
    choice("mixing", mixing, Mixing)
    if mixing == "permutations" and n > MAX_PERMUTED:
        raise TopologyError(
            f"streams is {n}; at most {MAX_PERMUTED} with mixing by permutations, of which n! are mixed"
        )
    start = checked_positive("scale", scale)
    build = Builder(depth)
    state = expanded(build, n, expand)

    def logits(what: str, k: int, bias: Matrix) -> Weight:
        static = Parameter(f"{what}{k}", bias)
        if not dynamic:
            return static
        seen = Generated(f"dynamic_{what}{k}", static.shape, tuple(range(n)))
        return Sum((static, Times(Parameter(f"{what}_scale{k}", ((start,),)), seen)))

    for k in range(1, depth + 1):
        keys = state if dynamic else ()
        read: Weight = Sigmoid(logits("read", k, (tuple(1 if s == (k - 1) % n else -1 for s in range(n)),)))
        write = Sigmoid(logits("write", k, ((0,),) * n), 2)
        if mixing == "identity":
            read_by, carried = build.mix(f"u{k}", state, read, keys), state
        else:
            if mixing == "sinkhorn":
                apart = tuple(tuple(0 if i == j else FAR for j in range(n)) for i in range(n))
                residual: Weight = Sinkhorn(logits("residual", k, apart), iterations)
            else:
                first = (0, *(FAR,) * (math.factorial(n) - 1))
                residual = Permutations(Softmax(logits("residual", k, (first,))), n)
            names = [f"u{k}", *(f"g{k}_{s}" for s in range(n))]
            read_by, *rest = build.mixes(names, state, stacked(read, residual), keys)
            carried = tuple(rest)
        read_by, hints = block_input(build, k, read_by, pre_norm)
        written = build.block(k, read_by, hints)
        names = [f"h{k}_{s}" for s in range(n)]
        state = build.mixes(names, [written, *carried], beside(write, identity(n)), keys)
    settings: dict[str, Setting] = {"streams": n, "mixing": mixing}
    if mixing == "sinkhorn":
        settings["iterations"] = iterations
    settings |= {"scale": start} if dynamic else {"dynamic": False}
    if pre_norm:
        settings["pre_norm"] = True
    return build.topology(collapsed(build, state, collapse), "mhc", **settings, **ends(expand, collapse))
