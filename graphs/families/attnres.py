"""Attention residuals: every block reads a softmax attention over the outputs of earlier blocks."""

from collections.abc import Sequence

from graphs.builder import Builder
from graphs.families.arguments import whole
from graphs.topology import Topology
from graphs.weights import Generated, Parameter, Softmax, Weight


def attnres(depth: int, *, block: int = 1, static: bool = False) -> Topology:
    """Attention residuals: ``u_l = sum_i softmax_i(w_l . RMSNorm(v_i)) v_i`` over the sources ``v_i``.

    The sources are the stem and the outputs of all earlier blocks (``block=1``, the full form), or summaries: the
    stem, the sum of outputs of each finished run of ``block`` blocks, and the sum of the run in progress, which its
    own first block does not see. The output is one more such aggregation, with a query of its own. ``static`` has a
    learned logit per source instead of queries.

    Queries and logits start at zero: every reader gets the mean of its sources, which is the residual network's
    value divided by their number, for any ``block``. Per reader of more than one source there are 2 d weights, the
    query ``w_l`` and the gain of the keys' norm (static: one a source). The logits are not divided by sqrt(d).

    The paper does not say whether queries decay; ours do not, as the gains. A reader of one source has no weights.
    It names no default length of a run; the full form is the one that it derives.

    Source: Attention Residuals, arXiv 2603.15031; the static form is the row of its ablation with learned scalars.
    """
    whole("block", block, 1)
    build = Builder(depth)
    finished = [build.stem]
    partial: str | None = None
    for number in range(1, depth + 1):
        sources = finished if partial is None else [*finished, partial]
        output = build.block(number, _attended(build, f"u{number}", sources, f"query{number}", static))
        partial = output if partial is None else build.add(f"s{number}", partial, output)
        if number % block == 0:
            finished.append(partial)
            partial = None
    sources = finished if partial is None else [*finished, partial]
    output = _attended(build, "out", sources, f"query{depth + 1}", static)
    return build.topology(output, "attnres", block=block, static=static)


def _attended(build: Builder, value: str, sources: Sequence[str], name: str, static: bool) -> str:
    k = len(sources)
    if k == 1:
        return sources[0]
    logits: Weight = Parameter(name, ((0,) * k,))
    if not static:
        logits = Generated(name, (1, k), tuple(range(k)), each=True, norm="rms", gain=True, group="mix")
    return build.mix(value, sources, Softmax(logits), () if static else sources)
