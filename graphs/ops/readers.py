"""Which mixes of a plan run fused, and what they read. No torch."""

from collections.abc import Callable

from graphs.attention import attention
from graphs.plan import Plan
from graphs.topology import Mix
from graphs.weights import Constant


def fusible(mix: Mix) -> bool:
    """Whether the fused form is for it. Fixed numbers (an addition each), random ones and matrices are not."""
    weight = mix.weight
    return not (isinstance(weight, Constant) or weight.random or weight.grain.full)


def joint(plan: Plan) -> tuple[bool, ...]:
    """Which mixes work out the gradients of sources that they share with others, all sources in one pass.

    That reads the m output gradients once, and of each source it reads the source, writes a gradient and has it read
    again; left to the sources, each reads all m. See :class:`graphs.traffic.Traffic`, which counts in the same way.
    """
    found = readers(plan)
    result = []
    for mix in plan.mixes:
        shared = sum(len(found.get(value, ())) > 1 for value in mix.reads)
        m = len(mix.writes)
        result.append(m + (3 - mix.weight.per_token) * shared < m * shared)
    return tuple(result)


def readers(plan: Plan) -> dict[str, tuple[tuple[int, int], ...]]:
    """For each value the fusible mixes that read it: (mix number, place among its sources).

    Attention over depth is apart: see :func:`attended`.
    """
    return _places(plan, lambda mix: fusible(mix) and attention(mix) is None)


def attended(plan: Plan) -> dict[str, tuple[tuple[int, int], ...]]:
    """For each value the attentions over depth that read it: (mix number, place among its sources)."""
    return _places(plan, lambda mix: attention(mix) is not None)


def _places(plan: Plan, among: Callable[[Mix], bool]) -> dict[str, tuple[tuple[int, int], ...]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for n, mix in enumerate(plan.mixes):
        if among(mix):
            for j, value in enumerate(mix.reads):
                found.setdefault(value, []).append((n, j))
    return {value: tuple(places) for value, places in found.items()}
