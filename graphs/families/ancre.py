"""ANCRe: residual connections re-assigned by a softmax over all earlier hidden states."""

import math

from graphs.builder import Builder, sites
from graphs.errors import TopologyError
from graphs.topology import Topology
from graphs.weights import Constant, Parameter, Product, Softmax, Sum, Weight


def ancre(depth: int, *, temperature: float = 0.01, inner: bool = True, period: int = 1) -> Topology:
    """Adaptive neural connection reassignment, incoming normalisation.

    ``h_k = u_k + sum_{i<k} p_ki h_i`` with ``p_k = softmax(c_k / temperature)`` over the sources. The logits start
    at zero (a uniform mean) and the first, which has one source, is frozen: ``K (K + 1) / 2 - 1`` weights for K
    sites. ``u_k`` is the block's output. The released code keeps the block's own residual, so with ``inner``
    ``u_k = h_{k-1} + f_k(h_{k-1})`` (sub-layer by sub-layer where ``period`` of them make one published block)
    and the total weight of ``h_{k-1}`` is ``1 + p``. ``inner=False`` is the paper's notation, ``u_k = f_k(h_{k-1})``.

    Source: ANCRe, arXiv 2602.09009, equation of section 3, and its released code.
    """
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
        raise TopologyError(f"temperature is {temperature!r}; a number above 0 was expected")
    build = Builder(depth)
    history = [build.stem]
    for site in sites(depth, period):
        value = history[-1]
        terms: list[str] = []  # what the site adds beside the gated history
        for number in site:
            terms.append(build.block(number, value))
            if number != site[-1]:
                value = build.add(f"x{number}", value, terms[-1]) if inner else terms[-1]
        # With the inner residual, h_{k-1} plus every sub-layer's output, read here without a sum of their own.
        own = terms if inner else terms[-1:]
        value = build.mix(
            f"h{site[-1]}", [*own, *history], _gated(site[-1], len(own), len(history), temperature, inner)
        )
        history.append(value)
    return build.topology(value, "ancre", temperature=float(temperature), inner=inner, period=period)


def _gated(site: int, own: int, sources: int, temperature: float, inner: bool) -> Weight:
    """Row ``[1 .. 1 | softmax(logits)]`` over the site's own terms and the history, plus 1 at h_{k-1} if inner."""
    if sources == 1:
        return Constant(((*(1,) * own, 1 + int(inner)),))
    fixed = Constant(((*(1,) * own, *(0,) * (sources - 1), int(inner)),))
    place = Constant(tuple(tuple(int(j == own + i) for j in range(own + sources)) for i in range(sources)))
    logits = Parameter(f"gates{site}", ((0,) * sources,))
    return Sum((fixed, Product(Softmax(logits, float(temperature)), place)))
