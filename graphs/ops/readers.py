"""Which mixes of a plan run fused, and what they read. No torch."""

from graphs.plan import Plan
from graphs.topology import Mix
from graphs.weights import Constant


def fusible(mix: Mix) -> bool:
    """Whether the fused form is for it. Fixed numbers (an addition each), random ones and matrices are not."""
    weight = mix.weight
    return not (isinstance(weight, Constant) or weight.random or weight.grain.full)


def readers(plan: Plan) -> dict[str, tuple[tuple[int, int], ...]]:
    """For each value the fusible mixes that read it: (mix number, place among its sources)."""
    found: dict[str, list[tuple[int, int]]] = {}
    for n, mix in enumerate(plan.mixes):
        if fusible(mix):
            for j, value in enumerate(mix.reads):
                found.setdefault(value, []).append((n, j))
    return {value: tuple(places) for value, places in found.items()}
