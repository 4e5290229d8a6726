"""Weight rules: how a mix gets its matrix. Frozen, torch-free values over named parameters.

Orientation is destination first everywhere: a rule of shape ``(m, k)`` sends k sources to m outputs,
``out[i] = sum_j W[i, j] * in[j]``. Papers differ; families convert.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from graphs.weights.algebra import Place as Place
from graphs.weights.algebra import Product as Product
from graphs.weights.algebra import Sum as Sum
from graphs.weights.algebra import Times as Times
from graphs.weights.algebra import beside as beside
from graphs.weights.algebra import moved as moved
from graphs.weights.algebra import multiply as multiply
from graphs.weights.algebra import pick as pick
from graphs.weights.algebra import place as place
from graphs.weights.algebra import stacked as stacked
from graphs.weights.algebra import summed as summed
from graphs.weights.algebra import transpose as transpose
from graphs.weights.functions import Axis as Axis
from graphs.weights.functions import Permutations as Permutations
from graphs.weights.functions import Sigmoid as Sigmoid
from graphs.weights.functions import Sinkhorn as Sinkhorn
from graphs.weights.functions import Softmax as Softmax
from graphs.weights.functions import Tanh as Tanh
from graphs.weights.functions import TopK as TopK
from graphs.weights.functions import greatest as greatest
from graphs.weights.grain import CHANNEL as CHANNEL
from graphs.weights.grain import MATRIX as MATRIX
from graphs.weights.grain import SCALAR as SCALAR
from graphs.weights.grain import Grain as Grain
from graphs.weights.leaves import Bernoulli as Bernoulli
from graphs.weights.leaves import Constant as Constant
from graphs.weights.leaves import Generated as Generated
from graphs.weights.leaves import Parameter as Parameter
from graphs.weights.leaves import checked_name as checked_name
from graphs.weights.leaves import identity as identity
from graphs.weights.leaves import ones as ones
from graphs.weights.leaves import row as row
from graphs.weights.numbers import Flags as Flags
from graphs.weights.numbers import Matrix as Matrix
from graphs.weights.numbers import Number as Number
from graphs.weights.numbers import matmul as matmul
from graphs.weights.numbers import matrix as matrix
from graphs.weights.numbers import shape_of as shape_of
from graphs.weights.rule import Rule as Rule
from graphs.weights.rule import evaluate as evaluate
from graphs.weights.rule import support as support
from graphs.weights.rule import walk as walk
from graphs.weights.shared import Shared as Shared
from graphs.weights.text import from_dict as from_dict
from graphs.weights.text import number as number
from graphs.weights.text import number_text as number_text
from graphs.weights.text import to_dict as to_dict

Weight = Rule


@dataclass(frozen=True, slots=True)
class Group:
    """How an optimiser treats parameters: with weight decay or not, and its learning rate times ``lr``."""

    decay: bool
    lr: float


# Groups by name; a name that is not here is treated as "mix".
GROUPS = {"mix": Group(False, 1.0), "decayed": Group(True, 1.0), "tenth": Group(False, 0.1)}


def parameters(weight: Rule) -> Iterator[Parameter]:
    """Every Parameter inside a rule, in reading order; a tied one may come twice."""
    return (rule for rule in walk(weight) if isinstance(rule, Parameter))


def generators(weight: Rule) -> Iterator[Generated]:
    """Every Generated inside a rule, in reading order."""
    return (rule for rule in walk(weight) if isinstance(rule, Generated))
