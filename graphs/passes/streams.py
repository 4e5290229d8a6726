"""History form becomes state form: what several readers' weights share is computed once, as values."""

from collections.abc import Generator, Iterable

from graphs.order import schedule
from graphs.passes.linear import Names, composable
from graphs.topology import Block, Mix, Op, Topology
from graphs.weights import Constant, Place, Product, Rule, Shared, Sum, moved, multiply, summed, walk

Columns = tuple[str | None, ...]  # what each column of a matrix applies to; None: nothing
Values = tuple[str | None, ...]  # the rows of a matrix as values; None: zero
Steps = Generator[tuple[Rule, Columns], Values, Values]
Terms = list[tuple[Rule, int, Columns]]  # a sum of rows of matrices


def to_streams(topology: Topology) -> Topology:
    """The same function with products taken apart: ``A S`` of the sources is ``A`` of the values ``S`` of the sources.

    Equal factors of equal sources are one set of values, so a static hyper topology in history form, whose states are
    ``S_k = [A_r S_{k-1} | B]``, comes back to its streams. Structural: matrices are never looked into, so what
    constants happen to have in common is :func:`graphs.passes.factor`'s business.
    """
    state = _States(topology)
    for op in schedule(topology):
        state.rewrite(op)
    if not state.alias:
        return topology
    return topology.rewritten(tuple(state.ops), state.alias.get(topology.output, topology.output))


def shares_factors(topology: Topology) -> bool:
    """Whether any two mixes hold products with one right factor: what it gives could then be computed once."""
    shared = Shared()
    users: dict[int, int] = {}  # the first mix that holds it, by its number
    for i, mix in enumerate(topology.mixes):
        if composable(mix):
            for rule in walk(mix.weight):
                if isinstance(rule, Product) and users.setdefault(shared.number(rule.right), i) != i:
                    return True
    return False


class _States:
    def __init__(self, topology: Topology) -> None:
        self.stem = topology.stem
        self.ops: list[Op] = []
        self.alias: dict[str, str] = {}
        self._names = Names(topology, "s")
        self._shared = Shared()
        self._known: dict[tuple[int, Columns], Values] = {}
        self._product: dict[int, bool] = {}  # by number
        self._cells: dict[int, dict[int, list[tuple[int, int, int]]]] = {}  # of placements, by number and row

    def rewrite(self, op: Op) -> None:
        op = self._through(op)
        if not composable(op) or not self._has_product(op.weight):
            self.ops.append(op)
            return
        steps: list[Steps] = [self._vector(op.weight, op.reads)]
        values: Values = ()
        while True:  # a stack of our own: states follow from states, as many as there are blocks
            try:
                needed = steps[-1].send(values) if values else next(steps[-1])
            except StopIteration as done:
                steps.pop()
                values = done.value
                if not steps:
                    break
            else:
                steps.append(self._vector(*needed))
                values = ()
        for name, value in zip(op.writes, values, strict=True):
            if value is None:
                self.ops.append(Mix((self.stem,), (name,), Constant(((0,),))))
            else:
                self.alias[name] = value

    def _through(self, op: Op) -> Op:
        """The operation reading what its reads have become."""
        if isinstance(op, Block):
            reads = tuple(self.alias.get(value, value) for value in op.reads)
            return Block(op.number, reads, op.writes, op.ports, op.name, op.hints)
        reads = tuple(self.alias.get(value, value) for value in op.reads)
        keys = tuple(self.alias.get(value, value) for value in op.keys)
        if reads == op.reads and keys == op.keys:
            return op
        sources = tuple(dict.fromkeys(reads))
        weight = op.weight
        if len(sources) < len(reads):
            weight = multiply(weight, Constant(tuple(tuple(int(value == s) for s in sources) for value in reads)))
        return Mix(sources, op.writes, weight, keys, op.norm)

    def _has_product(self, weight: Rule) -> bool:
        number = self._shared.number(weight)
        if number not in self._product:
            inside = isinstance(weight, Sum | Place) and any(map(self._has_product, weight.children))
            self._product[number] = inside or isinstance(weight, Product)
        return self._product[number]

    def _vector(self, rule: Rule, columns: Columns) -> Steps:
        """The values of a matrix applied to its columns; yields the matrices whose values it needs."""
        live = [any(column) for column in zip(*rule.support(), strict=True)]
        columns = tuple(value if on else None for value, on in zip(columns, live, strict=True))
        key = self._shared.number(rule), columns
        if key in self._known:
            return self._known[key]
        values: list[str | None] = [None] * rule.shape[0]
        own: dict[int, Terms] = {}
        for i in range(rule.shape[0]):
            terms = [(rule, i, columns)] if isinstance(rule, Product) else self._terms(rule, i, columns)
            if len(terms) == 1:
                inner, row, reads = terms[0]
                if isinstance(inner, Product) and inner is not rule:
                    values[i] = (yield inner, reads)[row]
                    continue
                if (source := _source(inner, row, reads)) is not None:
                    values[i] = source
                    continue
            expanded: Terms = []
            for inner, row, reads in terms:
                if isinstance(inner, Product):
                    expanded += self._terms(inner.left, row, (yield inner.right, reads))
                else:
                    expanded.append((inner, row, reads))
            if expanded:
                own[i] = expanded
        if own:
            mix = self._mix(list(own.values()))
            self.ops.append(mix)
            for i, value in zip(own, mix.writes, strict=True):
                values[i] = value
        self._known[key] = tuple(values)
        return self._known[key]

    def _terms(self, rule: Rule, row: int, columns: Columns) -> Terms:
        """A row of a matrix as a sum of rows of matrices that are neither sums nor placements."""
        if isinstance(rule, Sum):
            return [term for part in rule.terms for term in self._terms(part, row, columns)]
        if isinstance(rule, Place) and self._has_product(rule):
            cells = self._by_row(rule).get(row, [])
            inner: list[str | None] = [None] * rule.of.shape[1]
            for j, _, b in cells:
                if columns[j] is not None and inner[b] is not None:
                    return [(rule, row, columns)]  # one entry for two sources: it is no row of what it is made of
                inner[b] = columns[j] if columns[j] is not None else inner[b]
            rows = {a for _, a, _ in cells}
            if len(rows) == 1:
                return self._terms(rule.of, rows.pop(), tuple(inner))
        if any(on and value is not None for on, value in zip(rule.support()[row], columns, strict=True)):
            return [(rule, row, columns)]
        return []

    def _by_row(self, rule: Place) -> dict[int, list[tuple[int, int, int]]]:
        number = self._shared.number(rule)
        if number not in self._cells:
            rows = self._cells[number] = {}
            for i, j, a, b in rule.cells:
                rows.setdefault(i, []).append((j, a, b))
        return self._cells[number]

    def _mix(self, rows: list[Terms]) -> Mix:
        """One mix that writes a new value for each of ``rows``."""
        blocks: dict[tuple[int, Columns], tuple[Rule, list[tuple[int, int]]]] = {}
        for r, terms in enumerate(rows):
            for rule, row, columns in terms:
                blocks.setdefault((id(rule), columns), (rule, []))[1].append((r, row))
        sources = tuple(dict.fromkeys(_used(blocks.items())))
        at = {source: j for j, source in enumerate(sources)}
        parts = []
        for (_, columns), (rule, pairs) in blocks.items():
            reads = [(b, at[value]) for b, value in enumerate(columns) if value in at]
            if len({j for _, j in reads}) < len(reads):  # a source twice: its weights add up
                spread = Constant(tuple(tuple(int(value == source) for source in sources) for value in columns))
                rule, reads = multiply(rule, spread), [(j, j) for j in range(len(sources))]
            layers: list[dict[int, int]] = []  # a sum may hold one matrix twice
            for r, row in pairs:
                layer = next((layer for layer in layers if r not in layer), None)
                if layer is None:
                    layers.append(layer := {})
                layer[r] = row
            for layer in layers:
                cells = [(r, j, row, b) for r, row in layer.items() for b, j in reads]
                parts.append(moved(rule, (len(rows), len(sources)), cells))
        return Mix(sources, tuple(self._names.fresh() for _ in rows), summed(parts))


def _used(
    blocks: Iterable[tuple[tuple[int, Columns], tuple[Rule, list[tuple[int, int]]]]],
) -> Iterable[str]:
    for (_, columns), (rule, pairs) in blocks:
        flags = rule.support()
        rows = {row for _, row in pairs}
        for b, value in enumerate(columns):
            if value is not None and any(flags[row][b] for row in rows):
                yield value


def _source(rule: Rule, row: int, columns: Columns) -> str | None:
    """The one source that a row is, times one."""
    if not isinstance(rule, Constant):
        return None
    on = [(value, entry) for value, entry in zip(columns, rule.entries[row], strict=True) if entry and value]
    return on[0][0] if len(on) == 1 and on[0][1] == 1 else None
