"""Every published way of connecting blocks that the tool knows: a family is a function of a few numbers.

``depth`` comes first; the other parameters are keyword-only, annotated ``bool``, ``int``, ``float`` or
``Literal``, and their defaults are the published ones. That signature is all a search space needs. A file of this
folder that is not named here is found as well: adding a family takes one file.
"""

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType

from graphs.families.ancre import ancre as ancre
from graphs.families.attnres import attnres as attnres
from graphs.families.dense import dense as dense
from graphs.families.dense import densenet as densenet
from graphs.families.frac import frac as frac
from graphs.families.gated import highway as highway
from graphs.families.gated import stochastic_depth as stochastic_depth
from graphs.families.hyper import hyper as hyper
from graphs.families.mhc import mhc as mhc
from graphs.families.mudd import mudd as mudd
from graphs.families.random_graphs import barabasi_albert as barabasi_albert
from graphs.families.random_graphs import erdos_renyi as erdos_renyi
from graphs.families.random_graphs import random as random
from graphs.families.random_graphs import watts_strogatz as watts_strogatz
from graphs.families.residual import residual as residual
from graphs.families.scaling import deepnorm as deepnorm
from graphs.families.scaling import depth_mup as depth_mup
from graphs.families.scaling import fixup as fixup
from graphs.families.scaling import layerscale as layerscale
from graphs.families.scaling import lns as lns
from graphs.families.scaling import rezero as rezero
from graphs.families.scaling import scaled as scaled
from graphs.families.scaling import skipinit as skipinit
from graphs.families.skips import long_skip as long_skip
from graphs.families.skips import unet as unet
from graphs.families.skips import x0_lambdas as x0_lambdas
from graphs.families.to_output import to_output as to_output
from graphs.families.to_output import to_output_hybrid as to_output_hybrid
from graphs.families.wiring import wiring as wiring
from graphs.topology import Topology

_NAMED: dict[str, Callable[..., Topology]] = {
    "residual": residual,
    "scaled": scaled,
    "depth_mup": depth_mup,
    "skipinit": skipinit,
    "rezero": rezero,
    "layerscale": layerscale,
    "fixup": fixup,
    "lns": lns,
    "deepnorm": deepnorm,
    "highway": highway,
    "stochastic_depth": stochastic_depth,
    "to_output": to_output,
    "to_output_hybrid": to_output_hybrid,
    "unet": unet,
    "x0_lambdas": x0_lambdas,
    "long_skip": long_skip,
    "dense": dense,
    "densenet": densenet,
    "hyper": hyper,
    "frac": frac,
    "mhc": mhc,
    "ancre": ancre,
    "attnres": attnres,
    "mudd": mudd,
    "wiring": wiring,
    "erdos_renyi": erdos_renyi,
    "watts_strogatz": watts_strogatz,
    "barabasi_albert": barabasi_albert,
}


def _found() -> dict[str, Callable[..., Topology]]:
    """The families of files that nobody lists: public functions of theirs whose first parameter is ``depth``."""
    known = {family.__module__ for family in _NAMED.values()}
    found: dict[str, Callable[..., Topology]] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        if f"{__name__}.{module}" in known:
            continue
        for name, value in sorted(vars(import_module(f"{__name__}.{module}")).items()):
            own = inspect.isfunction(value) and value.__module__ == f"{__name__}.{module}"
            if own and not name.startswith("_") and next(iter(inspect.signature(value).parameters), "") == "depth":
                found[name] = value
    return found


FAMILIES: Mapping[str, Callable[..., Topology]] = MappingProxyType(_NAMED | _found())
globals().update(FAMILIES)
