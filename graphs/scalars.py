"""Weight matrices spelled out entry by entry, as a graph of scalar expressions with fixed ones worked out."""

from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction

from graphs.weights import Constant, Parameter, Product, Softmax, Sum, Weight

Entries = Callable[[int, int], int | None]  # the node of entry (i, j), or None where it is fixed at zero

UNIT = -1  # stands for the number one where an expression is taken apart


class Scalars:
    """A coloured directed graph: ``colours[node]``, and ``edges`` as (from, to, label) triples.

    Equal expressions over the same learned scalars are one node; learned scalars are never merged.
    """

    def __init__(self) -> None:
        self.colours: list[str] = []
        self.edges: list[tuple[int, int, str]] = []
        self._known: dict[object, int] = {}
        self._constants: dict[int, Fraction] = {}
        self._sums: dict[int, dict[int, Fraction]] = {}
        self._factors: dict[int, tuple[int, ...]] = {}

    def node(self, colour: str) -> int:
        """A new node."""
        self.colours.append(colour)
        return len(self.colours) - 1

    def edge(self, start: int, end: int, label: str) -> None:
        self.edges.append((start, end, label))

    def _shared(self, key: object, colour: str, children: list[tuple[int, str]]) -> int:
        if key not in self._known:
            node = self._known[key] = self.node(colour)
            self.edges += [(node, child, label) for child, label in children]
        return self._known[key]

    def constant(self, value: Fraction) -> int:
        node = self._shared(("constant", value), f"constant {value}", [])
        self._constants[node] = value
        return node

    def constant_value(self, node: int) -> Fraction | None:
        """The number, where the expression is one."""
        return self._constants.get(node)

    def times(self, factor: Fraction, node: int) -> int:
        """A fixed multiple of an expression."""
        return self._combination({part: factor * own for part, own in self._parts(node).items()})

    def product(self, factors: list[int]) -> int:
        """Nested products are one, and fixed factors are worked out."""
        fixed = Fraction(1)
        others: list[int] = []
        for node in factors:
            parts = self._parts(node)
            if len(parts) == 1:
                (node, own), *_ = parts.items()
                fixed *= own
            elif not parts:
                return node
            if node != UNIT:
                others += self._factors.get(node, (node,))
        if not others:
            return self.constant(fixed)
        others.sort()
        node = others[0]
        if len(others) > 1:
            node = self._shared(("product", tuple(others)), "product", [(factor, "factor") for factor in others])
            self._factors[node] = tuple(others)
        return self.times(fixed, node)

    def sum(self, terms: list[int]) -> int:
        """Nested sums are one, fixed multiples are distributed and like terms collected."""
        total: dict[int, Fraction] = defaultdict(Fraction)
        for node in terms:
            for part, factor in self._parts(node).items():
                total[part] += factor
        return self._combination(total)

    def _parts(self, node: int) -> dict[int, Fraction]:
        """An expression as fixed multiples of others that are neither sums nor numbers, and of ``UNIT``."""
        if node in self._constants:
            return {UNIT: self._constants[node]} if self._constants[node] else {}
        return self._sums.get(node, {node: Fraction(1)})

    def _combination(self, parts: dict[int, Fraction]) -> int:
        parts = {part: factor for part, factor in sorted(parts.items()) if factor}
        if not parts.keys() - {UNIT}:
            return self.constant(parts.get(UNIT, Fraction(0)))
        if list(parts.values()) == [1]:
            return next(iter(parts))
        key = ("sum", tuple(parts.items()))
        if key not in self._known:
            terms = []
            for part, factor in parts.items():
                if part == UNIT or factor == 1:
                    terms.append(self.constant(factor) if part == UNIT else part)
                else:
                    pair = [(part, "factor"), (self.constant(factor), "factor")]
                    terms.append(self._shared(("multiple", part, factor), "multiple", pair))
            self._sums[self._shared(key, "sum", [(node, "term") for node in terms])] = parts
        return self._known[key]

    def linear(self, row: dict[int, int]) -> int:
        """A weighted sum of values: ``row`` maps value node to coefficient node."""
        key = tuple(sorted(row.items()))
        if ("linear", key) not in self._known:
            terms = []
            for value, coefficient in key:
                term = self.node("term")
                self.edges += [(term, value, "value"), (term, coefficient, "coefficient")]
                terms.append((term, "term"))
            self._shared(("linear", key), "linear", terms)
        return self._known["linear", key]

    def entries(self, weight: Weight) -> Entries:
        """A function that gives the node of each entry of ``weight``."""
        match weight:
            case Constant(entries=entries):
                return lambda i, j: self.constant(Fraction(entries[i][j])) if entries[i][j] else None
            case Parameter():
                return self._parameter(weight)
            case Softmax():
                return self._softmax(weight)
            case Sum(terms=terms):
                parts = [self.entries(term) for term in terms]

                def total(i: int, j: int) -> int | None:
                    nodes = [node for part in parts if (node := part(i, j)) is not None]
                    return self.sum(nodes) if nodes else None

                return total
            case Product(left=left, right=right):
                return self._matmul(left, right)

    def _parameter(self, weight: Parameter) -> Entries:
        def entry(i: int, j: int) -> int | None:
            initial = Fraction(weight.initial[i][j])
            if not weight.trains(i, j):
                return self.constant(initial) if initial else None
            return self._shared(("parameter", weight.name, i, j), f"parameter {initial} group {weight.group}", [])

        return entry

    def _softmax(self, weight: Softmax) -> Entries:
        inner = self.entries(weight.of)
        m, k = weight.shape
        temperature = Fraction(weight.temperature)

        def entry(i: int, j: int) -> int:
            along = [(i, h) for h in range(k)] if weight.over == "sources" else [(h, j) for h in range(m)]
            logits = [self._logit(inner(*cell)) for cell in along]
            own = self._logit(inner(i, j))
            if len(logits) == 1:
                return self.constant(Fraction(1))
            fixed = [self._constants.get(node) for node in logits]
            if fixed.count(fixed[0]) == len(fixed) and fixed[0] is not None:
                return self.constant(Fraction(1, len(fixed)))
            group_key = tuple(sorted(logits))
            group = self._shared(("group", group_key), "softmax group", [(node, "logit") for node in logits])
            colour = f"softmax temperature {temperature}"
            return self._shared(("softmax", group, own, temperature), colour, [(group, "group"), (own, "logit")])

        return entry

    def _logit(self, node: int | None) -> int:
        return self.constant(Fraction(0)) if node is None else node

    def _matmul(self, left: Weight, right: Weight) -> Entries:
        first, second = self.entries(left), self.entries(right)
        inner = left.shape[1]
        # A placement (a fixed right factor, mostly zeros) is walked by its non-zero rows only.
        columns: dict[int, list[int]] = {}
        if isinstance(right, Constant):
            for h, row in enumerate(right.entries):
                for j, value in enumerate(row):
                    if value:
                        columns.setdefault(j, []).append(h)

        def entry(i: int, j: int) -> int | None:
            candidates = columns.get(j, []) if isinstance(right, Constant) else range(inner)
            nodes = []
            for h in candidates:
                a = first(i, h)
                b = second(h, j) if a is not None else None
                if a is not None and b is not None:
                    nodes.append(self.product([a, b]))
            return self.sum(nodes) if nodes else None

        return entry
