"""The topology language and its compiler.

Planning, pricing, hashing and drawing need no torch; ``compile``, ``mix`` and ``CompiledModel`` load it when used.
"""

from typing import TYPE_CHECKING, Any

from graphs import families as families
from graphs.cost import BlockCost as BlockCost
from graphs.cost import Cost as Cost
from graphs.cost import ModelCost as ModelCost
from graphs.cost import price as price
from graphs.errors import CompileError as CompileError
from graphs.errors import TopologyError as TopologyError
from graphs.errors import UserError as UserError
from graphs.facts import Facts as Facts
from graphs.facts import start_up as start_up
from graphs.plan import Plan as Plan
from graphs.plan import lower as lower
from graphs.topology import Block as Block
from graphs.topology import Mix as Mix
from graphs.topology import Topology as Topology
from graphs.weights import Constant as Constant
from graphs.weights import Parameter as Parameter
from graphs.weights import Product as Product
from graphs.weights import Softmax as Softmax
from graphs.weights import Sum as Sum

if TYPE_CHECKING:
    from graphs.compiler import compile as compile  # noqa: A004 (the contract's name)
    from graphs.model import CompiledModel as CompiledModel
    from graphs.ops import mix as mix

_NEEDS_TORCH = {"compile": "graphs.compiler", "CompiledModel": "graphs.model", "mix": "graphs.ops"}


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        from importlib import import_module

        return getattr(import_module(_NEEDS_TORCH[name]), name)
    raise AttributeError(f"module 'graphs' has no attribute {name!r}")
