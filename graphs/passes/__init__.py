"""Passes: pure functions from topology to topology, each with a name and a meaning it must keep."""

from collections.abc import Callable

from graphs.passes.canonicalise import canonicalise as canonicalise
from graphs.passes.fold import fold as fold
from graphs.passes.prune import prune as prune
from graphs.topology import Topology

Pass = Callable[[Topology], Topology]

# What lower() runs, in order. Legality is checked by construction of each result.
PIPELINE: tuple[Pass, ...] = (prune, fold, prune, canonicalise)
