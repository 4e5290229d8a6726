"""Whether a sampler can do anything with a space, and what it cannot do."""

from typing import TYPE_CHECKING

from nas.samplers.exhaustive import MOST
from search_space import enumeration
from search_space.space import Space

if TYPE_CHECKING:
    from nas.experiment import Search

EDGE_MOVERS = ("local", "evolution")
LARGEST_CAPACITY = 1000  # optional edges; a space with more has more than MOST sets of them, or takes long to count


def unfit(sampler: str, space: Space) -> str | None:
    """Why a sampler cannot search a space, with what would do; None where it can."""
    if sampler in EDGE_MOVERS and all(family.edges is None for family in space.families):
        return (
            f"{sampler} moves by edits of one edge, and this space has no edge that is free; add 'edits: {{edges: 2}}' "
            "to the space, or the family wiring, or choose tpe"
        )
    if sampler == "exhaustive":
        return _uncountable(space)
    return None


def _uncountable(space: Space) -> str | None:
    name = enumeration.continuous(space)
    if name is not None:
        return f"exhaustive tries every point, and {name} is continuous; list its values, or choose tpe"
    depth = max(int(depth) for depth in space.depth.extremes())
    room = [one.edges.capacity(depth) for one in space.families if one.edges is not None]
    if max(room, default=0) > LARGEST_CAPACITY:
        return f"exhaustive tries every point, and this space has up to {max(room):,} optional edges; choose tpe"
    size = enumeration.count(space) or 0
    if size > MOST:
        return (
            f"exhaustive tries every point, and this space has {size:,}, over {MOST:,}; make it smaller, or choose tpe"
        )
    return None


def caution(search: "Search", space: Space, trials: int) -> str | None:
    """What a sampler will not do well here, where it can do something; None where there is nothing to say."""
    if search.sampler in ("nsga2", "evolution") and search.population >= trials:
        return (
            f"{search.sampler} breeds only after {search.population} complete trials, and the search has {trials}: "
            "all of them will be random; lower search.population"
        )
    if search.sampler == "nsga2" and _conditional(space):
        return (
            "nsga2 crosses what all points have in common; what only some families or depths have is drawn at random, "
            "and here that is all but the family and the depth: tpe, local or evolution learn more"
        )
    size = enumeration.count(space) if search.sampler == "exhaustive" else None
    if size is not None and size > trials:
        return f"the space has {size:,} points, repeats included, and the search {trials:,} trials: it may not see all"
    return None


def _conditional(space: Space) -> bool:
    asked = [
        family for family in space.families if family.edges or any(known.count() != 1 for _, known in family.domains)
    ]
    return len(asked) > 0 and (len(space.families) > 1 or space.depth.count() != 1)
