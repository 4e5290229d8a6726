"""Every published way of connecting blocks that the tool knows: a family is a function of a few numbers.

``depth`` comes first; the other parameters are keyword-only, annotated ``bool``, ``int``, ``float`` or
``Literal``, and their defaults are the published ones. That signature is all a search space needs.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from graphs.families.ancre import ancre as ancre
from graphs.families.dense import dense as dense
from graphs.families.hyper import hyper as hyper
from graphs.families.residual import residual as residual
from graphs.families.to_output import to_output as to_output
from graphs.families.wiring import wiring as wiring
from graphs.topology import Topology

FAMILIES: Mapping[str, Callable[..., Topology]] = MappingProxyType(
    {
        "residual": residual,
        "to_output": to_output,
        "dense": dense,
        "hyper": hyper,
        "ancre": ancre,
        "wiring": wiring,
    }
)
