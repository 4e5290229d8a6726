"""Weight rules: how a mix gets its matrix. Frozen, torch-free values over named parameters.

Orientation is destination first everywhere: a rule of shape ``(m, k)`` sends k sources to m outputs,
``out[i] = sum_j W[i, j] * in[j]``. Numbers are exact where they can be: ints and Fractions stay exact, and a
float stands for the rational it is.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from graphs.errors import TopologyError

Number = int | float | Fraction
Matrix = tuple[tuple[Number, ...], ...]
Axis = Literal["sources", "destinations"]


def matrix(rows: Sequence[Sequence[Number]]) -> Matrix:
    """Freeze ``rows`` (m lists of k numbers); TopologyError where they are empty, ragged or not finite."""
    frozen = tuple(tuple(row) for row in rows)
    if not frozen or not frozen[0]:
        raise TopologyError("a weight matrix needs at least one row and one column; this one is empty")
    if len({len(row) for row in frozen}) > 1:
        raise TopologyError(f"the rows of a weight matrix differ in length: {[len(row) for row in frozen]}")
    for i, row in enumerate(frozen):
        for j, entry in enumerate(row):
            if isinstance(entry, bool) or not isinstance(entry, int | float | Fraction):
                raise TopologyError(f"weight [{i}][{j}] is {entry!r}; a number was expected")
            if not _finite(entry):
                raise TopologyError(f"weight [{i}][{j}] is {entry!r:.80}; a finite number was expected")
    return frozen


def _finite(number: Number) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # exact, but beyond any float
        return False


def shape_of(rows: Matrix) -> tuple[int, int]:
    return len(rows), len(rows[0])


def _checked_name(name: str) -> str:
    if not name.isidentifier() or name.startswith("_"):
        raise TopologyError(f"parameter name {name!r} is not a word of letters, digits and _ that starts with a letter")
    return name


@dataclass(frozen=True)
class Constant:
    """A fixed matrix, ``entries`` of shape (m, k)."""

    entries: Matrix

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", matrix(self.entries))

    @property
    def shape(self) -> tuple[int, int]:
        return shape_of(self.entries)


@dataclass(frozen=True)
class Parameter:
    """A learned matrix. Two parameters with one ``name`` are one parameter (a tie).

    ``initial`` has shape (m, k). ``learned`` masks the entries that train; the others stay at their initial
    value and cost no parameter (None: all train). ``group`` names the optimiser group.
    """

    name: str
    initial: Matrix
    learned: tuple[tuple[bool, ...], ...] | None = None
    group: str = "mix"

    def __post_init__(self) -> None:
        _checked_name(self.name)
        object.__setattr__(self, "initial", matrix(self.initial))
        if self.learned is not None:
            mask = tuple(tuple(bool(flag) for flag in row) for row in self.learned)
            if tuple(map(len, mask)) != tuple(map(len, self.initial)):
                raise TopologyError(f"parameter {self.name}: the mask's shape differs from the matrix's")
            if not any(map(any, mask)):
                raise TopologyError(f"parameter {self.name}: no entry is learned; use Constant")
            object.__setattr__(self, "learned", None if all(map(all, mask)) else mask)

    @property
    def shape(self) -> tuple[int, int]:
        return shape_of(self.initial)

    def trains(self, i: int, j: int) -> bool:
        """Whether entry (i, j) is learned."""
        return self.learned is None or self.learned[i][j]

    @property
    def size(self) -> int:
        """Number of learned scalars."""
        m, k = self.shape
        return m * k if self.learned is None else sum(map(sum, self.learned))


@dataclass(frozen=True)
class Softmax:
    """``softmax(of / temperature)`` along the sources (each row sums to 1) or the destinations (each column)."""

    of: "Weight"
    temperature: float = 1.0
    over: Axis = "sources"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise TopologyError(f"softmax temperature is {self.temperature!r}; a number above 0 was expected")
        if self.over not in ("sources", "destinations"):
            raise TopologyError(f"softmax over {self.over!r}; 'sources' or 'destinations' was expected")

    @property
    def shape(self) -> tuple[int, int]:
        return self.of.shape


@dataclass(frozen=True)
class Sum:
    """Entry-wise sum of rules of one shape."""

    terms: tuple["Weight", ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(self.terms))
        if len({term.shape for term in self.terms}) != 1:
            raise TopologyError(f"a sum of weights of different shapes: {[t.shape for t in self.terms]}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.terms[0].shape


@dataclass(frozen=True)
class Product:
    """Matrix product ``left @ right``: the composition of two mixes, or a placement of columns."""

    left: "Weight"
    right: "Weight"

    def __post_init__(self) -> None:
        if self.left.shape[1] != self.right.shape[0]:
            raise TopologyError(f"a product of weights of shapes {self.left.shape} and {self.right.shape}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0], self.right.shape[1]


Weight = Constant | Parameter | Softmax | Sum | Product


def ones(outputs: int, sources: int) -> Constant:
    """The plain sum: every output is the sum of all sources."""
    return Constant(((1,) * sources,) * outputs)


def multiply(left: Weight, right: Weight) -> Weight:
    """``left @ right``, worked out where both are constant."""
    if isinstance(left, Constant) and isinstance(right, Constant):
        return Constant(matmul(left.entries, right.entries))
    return Product(left, right)


def matmul(left: Matrix, right: Matrix) -> Matrix:
    """Exact product of two matrices of numbers (sparse: zeros are skipped)."""
    k = len(right[0])
    rows = []
    for row in left:
        out: list[Number] = [0] * k
        for entry, other in zip(row, right, strict=True):
            if entry:
                for j, value in enumerate(other):
                    if value:
                        out[j] += entry * value
        rows.append(tuple(out))
    return tuple(rows)


def parameters(weight: Weight) -> Iterator[Parameter]:
    """Every Parameter inside a rule, in reading order; a tied one may come twice."""
    match weight:
        case Parameter():
            yield weight
        case Softmax(of=inner):
            yield from parameters(inner)
        case Sum(terms=terms):
            for term in terms:
                yield from parameters(term)
        case Product(left=left, right=right):
            yield from parameters(left)
            yield from parameters(right)


def evaluate(weight: Weight, values: Mapping[str, Matrix] | None = None) -> Matrix:
    """The matrix of a rule: at its initial values, or at ``values`` (full matrices by parameter name).

    Exact (ints and Fractions) as long as the inputs are and no softmax has unequal logits.
    """
    match weight:
        case Constant(entries=entries):
            return entries
        case Parameter(name=name, initial=initial):
            return initial if values is None or name not in values else values[name]
        case Softmax(of=inner, temperature=temperature, over=over):
            return _softmax(evaluate(inner, values), temperature, over)
        case Sum(terms=terms):
            parts = [evaluate(term, values) for term in terms]
            return tuple(tuple(map(sum, zip(*rows, strict=True))) for rows in zip(*parts, strict=True))
        case Product(left=left, right=right):
            return matmul(evaluate(left, values), evaluate(right, values))


def _softmax(logits: Matrix, temperature: float, over: Axis) -> Matrix:
    if over == "destinations":
        transposed = _softmax(tuple(zip(*logits, strict=True)), temperature, "sources")
        return tuple(zip(*transposed, strict=True))
    return tuple(_softmax_row(row, temperature) for row in logits)


def _softmax_row(row: tuple[Number, ...], temperature: float) -> tuple[Number, ...]:
    if len(set(row)) == 1:  # equal logits: the uniform start is an exact rational, and tests rely on it
        return (Fraction(1, len(row)),) * len(row)
    top = max(row)
    powers = [math.exp(float(entry - top) / temperature) for entry in row]
    total = math.fsum(powers)
    return tuple(power / total for power in powers)


def support(weight: Weight) -> tuple[tuple[bool, ...], ...]:
    """Which entries can ever be non-zero: an entry fixed at zero is no edge."""
    m, k = weight.shape
    if isinstance(weight, Constant):
        return tuple(tuple(entry != 0 for entry in row) for row in weight.entries)
    if isinstance(weight, Product):
        # Row by row through the left factor's support: a product with a placement stays linear in its entries.
        left, right = support(weight.left), support(weight.right)
        columns = [[j for j, on in enumerate(row) if on] for row in right]
        rows = []
        for row in left:
            on = {j for h, live in enumerate(row) if live for j in columns[h]}
            rows.append(tuple(j in on for j in range(k)))
        return tuple(rows)
    if isinstance(weight, Sum):
        parts = [support(term) for term in weight.terms]
        return tuple(tuple(map(any, zip(*rows, strict=True))) for rows in zip(*parts, strict=True))
    if isinstance(weight, Parameter):
        return tuple(tuple(weight.trains(i, j) or weight.initial[i][j] != 0 for j in range(k)) for i in range(m))
    return ((True,) * k,) * m


_TO_DICT: dict[type, Callable[[Any], dict[str, Any]]] = {
    Constant: lambda w: {"rule": "constant", "entries": _plain(w.entries)},
    Parameter: lambda w: (
        {"rule": "parameter", "name": w.name, "initial": _plain(w.initial)}
        | ({"learned": [list(row) for row in w.learned]} if w.learned is not None else {})
        | ({"group": w.group} if w.group != "mix" else {})
    ),
    Softmax: lambda w: {"rule": "softmax", "of": to_dict(w.of), "temperature": w.temperature, "over": w.over},
    Sum: lambda w: {"rule": "sum", "terms": [to_dict(term) for term in w.terms]},
    Product: lambda w: {"rule": "product", "left": to_dict(w.left), "right": to_dict(w.right)},
}

_FROM_DICT: dict[str, tuple[type, frozenset[str], frozenset[str]]] = {
    "constant": (Constant, frozenset({"entries"}), frozenset()),
    "parameter": (Parameter, frozenset({"name", "initial"}), frozenset({"learned", "group"})),
    "softmax": (Softmax, frozenset({"of"}), frozenset({"temperature", "over"})),
    "sum": (Sum, frozenset({"terms"}), frozenset()),
    "product": (Product, frozenset({"left", "right"}), frozenset()),
}


def to_dict(weight: Weight) -> dict[str, Any]:
    """The JSON form of a rule: plain lists, numbers and strings (a Fraction is the string ``"1/3"``)."""
    return _TO_DICT[type(weight)](weight)


def from_dict(data: Any, where: str = "weight") -> Weight:
    """Read the JSON form back; TopologyError names the place and what would be right."""
    if not isinstance(data, dict) or data.get("rule") not in list(_FROM_DICT):
        raise TopologyError(
            f"{where}: a rule is a mapping with 'rule' one of {', '.join(_FROM_DICT)}; got {data!r:.80}"
        )
    kind, required, optional = _FROM_DICT[data["rule"]]
    given = set(data) - {"rule"}
    if given - required - optional or required - given:
        raise TopologyError(
            f"{where}: rule {data['rule']!r} takes {sorted(required)} and optionally {sorted(optional)}; "
            f"got {sorted(map(str, given))}"
        )
    fields: dict[str, Any] = {name: _field(name, data[name], f"{where}.{name}") for name in given}
    try:
        weight: Weight = kind(**fields)
    except TypeError as error:
        raise TopologyError(f"{where}: {error}") from error
    except TopologyError as error:
        raise TopologyError(f"{where}: {error}") from error
    return weight


def _field(name: str, value: Any, where: str) -> Any:
    if name in ("of", "left", "right"):
        return from_dict(value, where)
    if name == "terms":
        if not isinstance(value, list) or not value:
            raise TopologyError(f"{where}: a list of rules was expected; got {value!r:.80}")
        return tuple(from_dict(term, f"{where}[{i}]") for i, term in enumerate(value))
    if name in ("entries", "initial"):
        return tuple(tuple(_number(entry, where) for entry in row) for row in _rows(value, where))
    if name == "learned":
        if not all(isinstance(flag, bool) for row in _rows(value, where) for flag in row):
            raise TopologyError(f"{where}: rows of true and false were expected; got {value!r:.80}")
        return tuple(map(tuple, value))
    if name == "temperature":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TopologyError(f"{where}: a number above 0 was expected; got {value!r:.80}")
        return float(value)
    if not isinstance(value, str):
        raise TopologyError(f"{where}: a string was expected; got {value!r:.80}")
    return value


def _rows(value: Any, where: str) -> list[list[Any]]:
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise TopologyError(f"{where}: a list of rows was expected; got {value!r:.80}")
    return value


def _plain(rows: Matrix) -> list[list[int | float | str]]:
    return [[str(entry) if isinstance(entry, Fraction) else entry for entry in row] for row in rows]


def _number(entry: Any, where: str) -> Number:
    if isinstance(entry, str):
        # Only "-1/3": Fraction would also take "1e999999999", and work on it for ever.
        if not re.fullmatch(r"-?\d{1,400}/0*[1-9]\d{0,400}|-?\d{1,400}", entry, flags=re.ASCII):
            raise TopologyError(f"{where}: {entry!r:.80} is not a number")
        return Fraction(entry)
    if isinstance(entry, bool) or not isinstance(entry, int | float):
        raise TopologyError(f"{where}: {entry!r} is not a number")
    return entry
