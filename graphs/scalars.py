"""Weight matrices spelled out entry by entry, as a graph of scalar expressions with fixed ones worked out.

Only what is exact is worked out: a digest must not depend on how a machine rounds ``exp``.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import groupby

from graphs.scalar_lines import sinkhorn, top_k
from graphs.weights import (
    SCALAR,
    Bernoulli,
    Constant,
    Generated,
    Grain,
    Parameter,
    Permutations,
    Place,
    Product,
    Sigmoid,
    Sinkhorn,
    Softmax,
    Sum,
    Tanh,
    Times,
    TopK,
    Weight,
    walk,
)
from graphs.weights.numbers import Exact, exact

Entries = Callable[[int, int], int | None]  # the node of entry (i, j), or None where it is fixed at zero

UNIT = -1  # stands for the number one where an expression is taken apart


def softmax_colour(temperature: float) -> str:
    """The colour of a softmax's entries."""
    return f"softmax temperature {exact(temperature)}"


class Scalars:
    """A coloured directed graph: ``colours[node]``, and ``edges`` as (from, to, label) triples.

    Equal expressions over the same learned scalars are one node; learned scalars are never merged.
    """

    def __init__(self) -> None:
        self.colours: list[str] = []
        self.edges: list[tuple[int, int, str]] = []
        self._known: dict[object, int] = {}
        self._constants: dict[int, Exact] = {}
        self._sums: dict[int, dict[int, Exact]] = {}
        self._factors: dict[int, tuple[int, ...]] = {}
        self._fine: set[int] = set()  # expressions whose entries are finer than numbers
        self._full: set[int] = set()  # of these, the ones that mix channels
        self._share_of: dict[int, object] = {}  # the whole that a share is one part of, such as a softmax
        self._shares: dict[object, Counter[object]] = {}  # what is known as the shares of a whole, which sum to one

    def node(self, colour: str) -> int:
        """A new node."""
        self.colours.append(colour)
        return len(self.colours) - 1

    def edge(self, start: int, end: int, label: str) -> None:
        self.edges.append((start, end, label))

    def shared(self, key: object, colour: str, children: list[tuple[int, str]]) -> int:
        node = self._known.get(key)
        if node is None:
            node = self._known[key] = self.node(colour)
            self.edges += [(node, child, label) for child, label in children]
            for grained in (self._fine, self._full):
                if grained and any(child in grained for child, _ in children):
                    grained.add(node)
        return node

    def _learned(self, key: object, colour: str, grain: Grain, children: Sequence[tuple[int, str]] = ()) -> int:
        """A scalar that is learned, drawn or computed, of the given grain."""
        if grain == SCALAR:
            return self.shared(key, colour, list(children))
        node = self.shared(key, f"{colour} grain {grain}", list(children))
        self._fine.add(node)
        if grain.full:
            self._full.add(node)
        return node

    def constant(self, value: Exact) -> int:
        key = "constant", value
        node = self._known.get(key)
        if node is None:
            node = self.shared(key, f"constant {value}", [])
            self._constants[node] = value
        return node

    def constant_value(self, node: int) -> Exact | None:
        """The number, where the expression is one."""
        return self._constants.get(node)

    def times(self, factor: Exact, node: int) -> int:
        """A fixed multiple of an expression."""
        if factor == 1:
            return node
        return self._combination({part: factor * own for part, own in self._parts(node).items()})

    def product(self, factors: list[int]) -> int:
        """Nested products are one, and fixed factors are worked out."""
        fixed: Exact = 1
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
        # Numbers come first, in any order. Weights that are finer commute too, up to the next that mixes channels.
        plain = sorted(node for node in others if node not in self._fine)
        fine = [node for node in others if node in self._fine]
        runs = [sorted(run) for _, run in groupby(fine, lambda node: node if node in self._full else None)]
        others = [*plain, *(node for run in runs for node in run)]
        node = others[0]
        if len(others) > 1:
            children = [(node, "factor") for node in plain]
            for i, run in enumerate(runs):
                children += [(node, "factor" if len(runs) == 1 else f"factor {i}") for node in run]
            node = self.shared(("product", tuple(others)), "product", children)
            self._factors[node] = tuple(others)
        return self.times(fixed, node)

    def sum(self, terms: list[int]) -> int:
        """Nested sums are one, fixed multiples are distributed and like terms collected."""
        if len(terms) == 1:
            return terms[0]
        total: dict[int, Exact] = defaultdict(int)
        for node in terms:
            for part, factor in self._parts(node).items():
                total[part] += factor
        return self._combination(total)

    def _parts(self, node: int) -> dict[int, Exact]:
        """An expression as fixed multiples of others that are neither sums nor numbers, and of ``UNIT``."""
        if node in self._constants:
            return {UNIT: self._constants[node]} if self._constants[node] else {}
        return self._sums.get(node) or {node: 1}

    def share(self, whole: object, keys: Sequence[object], node: int) -> int:
        """``node`` as one of the shares, known by ``keys``, that sum to one."""
        self._share_of[node] = whole
        if whole not in self._shares:
            self._shares[whole] = Counter(keys)
        return node

    def _gathered(self, parts: dict[int, Exact]) -> dict[int, Exact]:
        """Shares that are all there are a number: streams that are copies may be mixed at will."""
        for whole in dict.fromkeys(self._share_of[part] for part in parts if part in self._share_of):
            shares = self._shares[whole]
            if len(shares) > len(parts):
                continue
            members = {self._known.get(key, UNIT): count for key, count in shares.items()}
            if members.keys() <= parts.keys() - {UNIT}:
                factor = min((Fraction(parts[node], count) for node, count in members.items()), key=abs)
                if all(parts[node] * factor > 0 for node in members):
                    parts = {node: own - factor * members.get(node, 0) for node, own in parts.items()}
                    parts[UNIT] = parts.get(UNIT, 0) + factor
        return parts

    def _combination(self, parts: dict[int, Exact]) -> int:
        parts = {part: exact(factor) for part, factor in sorted(self._gathered(parts).items()) if factor}
        if not parts or parts.keys() == {UNIT}:
            return self.constant(parts.get(UNIT, 0))
        if len(parts) == 1 and next(iter(parts.values())) == 1:
            return next(iter(parts))
        key = ("sum", tuple(parts.items()))
        if key not in self._known:
            terms = []
            for part, factor in parts.items():
                if part == UNIT or factor == 1:
                    terms.append(self.constant(factor) if part == UNIT else part)
                else:
                    pair = [(part, "factor"), (self.constant(factor), "factor")]
                    terms.append(self.shared(("multiple", part, factor), "multiple", pair))
            self._sums[self.shared(key, "sum", [(node, "term") for node in terms])] = parts
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
            self.shared(("linear", key), "linear", terms)
        return self._known["linear", key]

    def norm(self, name: str, kind: str, value: int) -> int:
        """The value ``value`` normalised, with learned scalars of its own."""
        gain = self.shared(("norm gain", name), f"parameter norm {kind}", [])
        return self.shared(("norm", name, value), f"norm {kind}", [(value, "of"), (gain, "gain")])

    def entries(self, weight: Weight, keys: Sequence[int] = ()) -> Entries:
        """A function that gives the node of each entry of ``weight``; ``keys`` are the nodes of the mix's keys."""
        known: dict[int, Entries] = {}
        for rule in walk(weight):
            inner = [known[id(child)] for child in rule.children]
            known[id(rule)] = functools.cache(self._entries(rule, inner, keys))
        return known[id(weight)]

    def _entries(self, weight: Weight, inner: list[Entries], keys: Sequence[int]) -> Entries:
        match weight:
            case Constant(entries=entries):
                return lambda i, j: self.constant(exact(entries[i][j])) if entries[i][j] else None
            case Parameter():
                return self._parameter(weight)
            case Bernoulli():
                return self._bernoulli(weight)
            case Generated():
                return self._generated(weight, keys)
            case Place(cells=cells):
                moved = {(i, j): (a, b) for i, j, a, b in cells}
                return lambda i, j: inner[0](*moved[i, j]) if (i, j) in moved else None
            case Sum():

                def total(i: int, j: int) -> int | None:
                    nodes = [node for part in inner if (node := part(i, j)) is not None]
                    return self.sum(nodes) if nodes else None

                return total
            case Times():
                return self._times(weight, *inner)
            case Product(left=left, right=right):
                return self._matmul(left, right, *inner)
            case Permutations(of=of):
                return self._permutations(weight, inner[0], of.shape[1])
            case Sigmoid() | Tanh():
                return self._pointwise(weight, inner[0])
            case Softmax():
                return self._softmax(weight, inner[0])
            case Sinkhorn():
                return sinkhorn(self, weight, inner[0])
            case TopK():
                return top_k(self, weight, inner[0])
        raise TypeError(f"{type(weight).__name__} is no weight rule that digests know: give it a case here")

    def _parameter(self, weight: Parameter) -> Entries:
        def entry(i: int, j: int) -> int | None:
            initial = exact(weight.initial[i][j])
            if not weight.trains(i, j):
                return self.constant(initial) if initial else None
            colour = f"parameter {initial} group {weight.group}"
            return self._learned(("parameter", weight.name, i, j), colour, weight.grain)

        return entry

    def _bernoulli(self, weight: Bernoulli) -> Entries:
        def entry(i: int, j: int) -> int | None:
            keep = exact(weight.keep[i][j])
            if keep in (0, 1):
                return self.constant(keep) if keep else None
            return self.shared(("bernoulli", weight.name, i, j), f"bernoulli {keep}", [])

        return entry

    def _generated(self, weight: Generated, keys: Sequence[int]) -> Entries:
        """What is computed from hidden states: the maps' vectors are learned nodes, cut up by the key they read.

        A map that starts ``normal`` is told from its likes by nothing but where it is used.
        """
        name = weight.name
        read = tuple(keys[place] for place in weight.keys)
        traits = f"norm {weight.norm} gain {weight.gain} start {weight.start} group {weight.group}"

        def applied(owner: tuple[object, ...], place: int) -> tuple[int, str]:
            """A learned vector of ``owner``, the one for this place, applied to the key there."""
            vector = self.shared(("vector", *owner, place), f"parameter vector {traits}", [])
            children = [(vector, "by"), (read[place], "to")]
            if weight.gain:
                gain = ("gain", name, 0 if weight.each else place)
                children.append((self.shared(gain, "parameter gain", []), "gain"))
            return self.shared(("applied", *owner, place, read[place]), "applied", children), "part"

        def each(i: int, j: int) -> int:
            # One vector for all keys, so that columns of one key are one expression.
            vector = self.shared(("vector", name, i), f"parameter vector {traits}", [])
            children = [(vector, "by"), (read[j], "to")]
            if weight.gain:
                children.append((self.shared(("gain", name), "parameter gain", []), "gain"))
            return self._learned(("generated", name, i, read[j]), "generated each", weight.grain, children)

        def together(i: int, j: int) -> int:
            if weight.hidden:
                parts = [applied((name,), place) for place in range(len(read))]
                layer = self.shared(("hidden", name, read), f"hidden {weight.hidden} {traits}", parts)
                last = self.shared(("last", name, i, j), f"parameter last {traits}", [])
                children = [(layer, "layer"), (last, "by")]
            else:
                children = [applied((name, i, j), place) for place in range(len(read))]
            group = self.shared(("together", name, read), f"read together {traits}", [(key, "key") for key in read])
            children.append((group, "group"))
            return self._learned(("generated", name, i, j, read), "generated", weight.grain, children)

        return each if weight.each else together

    def _pointwise(self, weight: Sigmoid | Tanh, inner: Entries) -> Entries:
        name = type(weight).__name__.lower()
        scale = exact(weight.scale) if isinstance(weight, Sigmoid) else 1
        at_zero = Fraction(1, 2) if isinstance(weight, Sigmoid) else 0

        def entry(i: int, j: int) -> int:
            node = self.logit(inner(i, j))
            if self._constants.get(node) == 0:
                return self.constant(exact(scale * at_zero))
            return self.times(scale, self.shared((name, node), name, [(node, "of")]))

        return entry

    def _softmax(self, weight: Softmax, inner: Entries) -> Entries:
        m, k = weight.shape
        colour = softmax_colour(weight.temperature)

        @functools.cache
        def line(place: int) -> tuple[int, ...]:
            along = [(place, h) for h in range(k)] if weight.over == "sources" else [(h, place) for h in range(m)]
            return tuple(self.logit(inner(*cell)) for cell in along)

        @functools.cache
        def group(place: int) -> int:
            return self.shared(
                ("group", tuple(sorted(line(place)))), "softmax group", [(n, "logit") for n in line(place)]
            )

        @functools.cache
        def keys(place: int) -> tuple[object, ...]:
            # By the temperature as it stands: a Fraction of its size is slow to hash.
            return tuple(("softmax", group(place), logit, weight.temperature) for logit in line(place))

        def entry(i: int, j: int) -> int:
            place, own = (i, j) if weight.over == "sources" else (j, i)
            logits = line(place)
            if len(set(logits)) == 1:  # equal for ever
                return self.constant(exact(Fraction(1, len(logits))))
            children = [(group(place), "group"), (logits[own], "logit")]
            node = self.shared(keys(place)[own], colour, children)
            return self.share((group(place), weight.temperature), keys(place), node)

        return entry

    def _permutations(self, weight: Permutations, inner: Entries, count: int) -> Entries:
        members = {(i, j): weight.members(i, j) for i in range(weight.size) for j in range(weight.size)}

        def entry(i: int, j: int) -> int | None:
            nodes = [node for s in members[i, j] if (node := inner(0, s)) is not None]
            return self.sum(nodes) if nodes else None

        return entry

    def _times(self, weight: Times, left: Entries, right: Entries) -> Entries:
        def entry(i: int, j: int) -> int | None:
            a = left(0, 0) if weight.left.shape == (1, 1) else left(i, j)
            b = right(0, 0) if weight.right.shape == (1, 1) else right(i, j)
            return None if a is None or b is None else self.product([a, b])

        return entry

    def logit(self, node: int | None) -> int:
        return self.constant(0) if node is None else node

    def _matmul(self, left: Weight, right: Weight, first: Entries, second: Entries) -> Entries:
        # Fixed zeros are skipped: what a product with a placement touches is little.
        inside = [[h for h, on in enumerate(row) if on] for row in left.support()]
        columns = [set[int]() for _ in range(right.shape[1])]
        for h, row in enumerate(right.support()):
            for j, on in enumerate(row):
                if on:
                    columns[j].add(h)

        def entry(i: int, j: int) -> int | None:
            nodes = []
            for h in inside[i]:
                if h in columns[j]:
                    a, b = first(i, h), second(h, j)
                    if a is not None and b is not None:
                        nodes.append(self.product([a, b]))
            return self.sum(nodes) if nodes else None

        return entry
