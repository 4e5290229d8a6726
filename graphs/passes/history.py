"""State form becomes history form: readers read earlier outputs, with products of the same parameters as weights."""

from collections.abc import Iterable

from graphs.order import schedule
from graphs.passes.linear import composable
from graphs.topology import Mix, Topology
from graphs.weights import Constant, Rule, moved, multiply, pick, summed

Rows = dict[str, Mix | None]  # what takes the place of a mix, by its first output; None: nothing


def to_history(topology: Topology) -> Topology:
    """The same function with no running streams: every reader reads the stem and outputs of blocks.

    So do the outputs of mixes whose weights are computed per token or drawn, or that have a norm: they count as
    sources. What several readers' weights have in common is one object in all of them.
    """
    state = States(topology)
    rows: Rows = {}
    for segment in state.segments:
        rows |= state.history(segment)
    return state.replaced(rows)


class States:
    """The mixes of a topology that may be composed, in segments that no value joins."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.order = schedule(topology)
        self.born = {value: i for i, op in enumerate(self.order) for value in op.outputs}
        self.born[topology.stem] = -1
        parent: dict[str, str] = {}  # of each value of such a mix, towards the one that its segment is called by

        def root(value: str) -> str:
            while parent[value] != value:
                parent[value] = value = parent[parent[value]]
            return value

        mixes = [op for op in self.order if composable(op)]
        for mix in mixes:
            parent |= dict.fromkeys(mix.writes, mix.writes[0])
            for value in mix.reads:
                if value in parent:
                    parent[root(value)] = root(mix.writes[0])
        found: dict[str, list[Mix]] = {}
        for mix in mixes:
            found.setdefault(root(mix.writes[0]), []).append(mix)
        self.segments = [segment for segment in found.values() if len(segment) > 1]
        # What others read of a segment: it has to stay.
        self.wanted = {topology.output}
        for op in self.order:
            if not composable(op):
                self.wanted.update(op.uses)

    def replaced(self, rows: Rows) -> Topology:
        """The topology with some of its mixes replaced."""
        ops = (rows.get(op.outputs[0], op) for op in self.order)
        return self.topology.rewritten(tuple(op for op in ops if op is not None)) if rows else self.topology

    def history(self, segment: Iterable[Mix]) -> Rows:
        """Every value of a segment that others read, in terms of what exists outside of it."""
        states: dict[str, tuple[Rule, int, tuple[str, ...]]] = {}  # a row of a matrix, and what it applies to
        rows: Rows = {}
        for mix in segment:
            sources, weight = self._composed(mix, states)
            states |= {value: (weight, i, sources) for i, value in enumerate(mix.writes)}
            kept = [i for i, value in enumerate(mix.writes) if value in self.wanted]
            live = [j for j, column in enumerate(zip(*weight.support(), strict=True)) if any(column[i] for i in kept)]
            if not kept:
                rows[mix.writes[0]] = None
                continue
            writes = tuple(mix.writes[i] for i in kept)
            if not live:  # its sources cancel
                zero = Constant(((0,),) * len(kept))
                rows[mix.writes[0]] = Mix((self.topology.stem,), writes, zero)
                continue
            rows[mix.writes[0]] = Mix(tuple(sources[j] for j in live), writes, pick(weight, kept, live))
        return rows

    def _composed(self, mix: Mix, states: dict[str, tuple[Rule, int, tuple[str, ...]]]) -> tuple[tuple[str, ...], Rule]:
        """The sources of a mix outside its segment, and its matrix in terms of them."""
        if not any(value in states for value in mix.reads):
            return mix.reads, mix.weight
        every = (source for value in mix.reads for source in (states[value][2] if value in states else (value,)))
        found = dict.fromkeys(every)  # outputs of one mix stand as they are read, the same in every process
        sources = tuple(sorted(found, key=self.born.__getitem__))
        column = {source: j for j, source in enumerate(sources)}
        direct = [[0] * len(sources) for _ in mix.reads]
        cells: dict[int, list[tuple[int, int, int, int]]] = {}
        inner: dict[int, Rule] = {}
        for i, value in enumerate(mix.reads):
            if value not in states:
                direct[i][column[value]] = 1
                continue
            weight, row, reads = states[value]
            inner[id(weight)] = weight
            cells.setdefault(id(weight), []).extend((i, column[source], row, j) for j, source in enumerate(reads))
        parts: list[Rule] = [moved(rule, (len(mix.reads), len(sources)), cells[key]) for key, rule in inner.items()]
        if any(map(any, direct)):
            parts.append(Constant(tuple(map(tuple, direct))))
        return sources, multiply(mix.weight, summed(parts))
