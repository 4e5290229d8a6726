"""ANCRe: residual connections re-assigned by a softmax over all earlier hidden states."""

from collections.abc import Iterator, Sequence
from typing import Literal

from graphs.builder import Builder, sites
from graphs.families.arguments import choice
from graphs.topology import Topology
from graphs.weights import Constant, Parameter, Softmax, Sum, Weight, beside, ones, pick
from graphs.weights.leaves import checked_positive

Normalise = Literal["incoming", "outgoing"]


def ancre(
    depth: int,
    *,
    temperature: float = 0.01,
    normalise: Normalise = "incoming",
    inner: bool = True,
    period: int = 1,
) -> Topology:
    """Adaptive neural connection reassignment.

    ``h_k = u_k + sum_{i<k} p_ki h_i``. With ``normalise="incoming"`` each reader's gates sum to one, ``p_k =
    softmax(c_k / temperature)`` over the sources; with ``"outgoing"`` each source's do, ``p_{.i} = softmax(c_i /
    temperature)`` over the destinations k > i. The logits start at zero (a uniform mean, or an even share), and
    those of a lone gate are frozen: ``K (K + 1) / 2 - 1`` weights for K sites either way. ``u_k`` is the block's
    output. The released code keeps the block's own residual, so with ``inner`` ``u_k = h_{k-1} + f_k(h_{k-1})``
    (sub-layer by sub-layer where ``period`` of them make one published block) and the total weight of ``h_{k-1}``
    is ``1 + p``. ``inner=False`` is the paper's notation, ``u_k = f_k(h_{k-1})``.

    Source: ANCRe, arXiv 2602.09009, equation of section 3, and its released code (both normalisations).
    """
    tau = checked_positive("temperature", temperature)
    choice("normalise", normalise, Normalise)
    build = Builder(depth)
    history = [build.stem]
    every = sites(depth, period)
    ends = [0, *(site[-1] for site in every)]  # what a node is called by: the number of the block it ends with
    gates = _incoming(ends, tau) if normalise == "incoming" else _outgoing(ends, tau)
    for site, gate in zip(every, gates, strict=True):
        value = history[-1]
        terms: list[str] = []  # what the site adds beside the gated history
        for number in site:
            terms.append(build.block(number, value))
            if number != site[-1]:
                value = build.add(f"x{number}", value, terms[-1]) if inner else terms[-1]
        # With the inner residual, h_{k-1} plus every sub-layer's output, read here without a sum of their own.
        own = terms if inner else terms[-1:]
        history.append(build.mix(f"h{site[-1]}", [*own, *history], _row(gate, len(own), inner)))
    settings = {"normalise": normalise} if normalise != "incoming" else {}
    return build.topology(history[-1], "ancre", temperature=tau, inner=inner, period=period, **settings)


def _incoming(ends: Sequence[int], tau: float) -> Iterator[list[Weight]]:
    """For each site its gates on the history, as parts of a row: the lone gate of the first is frozen."""
    yield [ones(1, 1)]
    for sources, end in enumerate(ends[2:], start=2):
        yield [Softmax(Parameter(f"gates{end}", ((0,) * sources,)), tau)]


def _outgoing(ends: Sequence[int], tau: float) -> Iterator[list[Weight]]:
    """The same, one gate a part: the share that each source gives this site. The last source has one reader."""
    count = len(ends) - 1
    shares: list[Weight] = [
        Softmax(Parameter(f"shares{end}", ((0,) * (count - i),)), tau) for i, end in enumerate(ends[:-2])
    ]
    shares.append(ones(1, 1))
    for k in range(1, count + 1):
        yield [pick(shares[i], columns=[k - 1 - i]) for i in range(k)]


def _row(gates: Sequence[Weight], own: int, inner: bool) -> Weight:
    """Row ``[1 .. 1 | gates]`` over the site's own terms and the history, plus 1 at h_{k-1} if inner."""
    row = beside(ones(1, own), *gates)
    fixed, *learned = row.terms if isinstance(row, Sum) else (row,)
    assert isinstance(fixed, Constant)  # beside puts all that is fixed into one, and the own terms are
    *entries, last = fixed.entries[0]
    fixed = Constant(((*entries, last + int(inner)),))
    return Sum((fixed, *learned)) if learned else fixed
