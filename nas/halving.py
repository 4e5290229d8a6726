"""Early stopping with several objectives: whole fronts are ranked per rung, at equal training FLOPs."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nas.front import nondominated_sort

if TYPE_CHECKING:
    from nas.experiment import Halving


def rung_fractions(halving: "Halving | None") -> tuple[float, ...]:
    """The shares of the budget at which a trial may be stopped, ascending: ``keep^(rungs-1), .., keep``."""
    if halving is None:
        return ()
    return tuple(halving.keep**power for power in range(halving.rungs - 1, 0, -1))


def rung_steps(halving: "Halving | None", steps: int) -> tuple[int, ...]:
    """The training steps of the rungs of a trial of ``steps`` steps; rungs that fall together are one."""
    found = {max(1, round(fraction * steps)) for fraction in rung_fractions(halving)}
    return tuple(sorted(step for step in found if step < steps))


def goes_on(number: int, rung: Mapping[int, Sequence[float]], keep: float) -> bool:
    """Whether trial ``number`` goes on, given everybody's vectors (to be minimised) at this rung so far.

    It does when nothing at the rung dominates it, or when it is among the best ``keep`` of the rung by front,
    then by the first objective (stopping form of MO-ASHA, arXiv 2106.12639). The first to arrive always does.
    """
    numbers = sorted(rung)
    ranks = nondominated_sort([tuple(rung[other]) for other in numbers])
    rank = dict(zip(numbers, ranks, strict=True))
    if rank[number] == 0:
        return True
    order = sorted(numbers, key=lambda other: (rank[other], rung[other][0], other))
    return order.index(number) < math.ceil(keep * len(order))
