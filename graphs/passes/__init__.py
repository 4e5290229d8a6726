"""Passes: pure functions from topology to topology, each with a name and a meaning it must keep."""

from collections.abc import Callable

from graphs.passes.canonicalise import canonicalise as canonicalise
from graphs.passes.defer import defer as defer
from graphs.passes.factor import factor as factor
from graphs.passes.fold import fold as fold
from graphs.passes.forms import forms as forms
from graphs.passes.group import group as group
from graphs.passes.history import to_history as to_history
from graphs.passes.prune import prune as prune
from graphs.passes.streams import to_streams as to_streams
from graphs.topology import Topology

Pass = Callable[[Topology], Topology]

# What lower() runs, in order. Each keeps what is legal, and the last one, which only renames, checks that they did.
PIPELINE: tuple[Pass, ...] = (prune, fold, prune, factor, fold, defer, forms, group, prune, canonicalise)
