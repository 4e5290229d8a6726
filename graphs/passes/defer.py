"""Mixes that follow each other run as one: the write-mix of a block joins the read-mix of the next."""

from graphs.order import schedule
from graphs.passes.linear import composable
from graphs.topology import Mix, Op, Topology
from graphs.traffic import Traffic
from graphs.weights import moved, multiply, pick, place, stacked, summed


def defer(topology: Topology) -> Topology:
    """The same function with fewer mixes, the weight of two that join a product of theirs.

    A mix that alone reads another's outputs takes the other in. A mix whose sources are ready as soon as another
    has run may run with it: the other's outputs then stay, and its sources are read once for both. Either is done
    only where the counted traffic drops. Parameters are the same ones.
    """
    mixes = [op for op in schedule(topology) if composable(op)]
    written = {value for mix in mixes for value in mix.writes}
    if all(written.isdisjoint(mix.reads) for mix in mixes):
        return topology
    state = _Program(topology)
    for op in mixes:
        state.join(op)
    return topology.rewritten(state.ops) if state.joined else topology


class _Program:
    """The operations while they are joined, in running order."""

    def __init__(self, topology: Topology) -> None:
        order = schedule(topology)
        self.count = Traffic(order)
        self.output = topology.output
        self.joined = False
        self._at: dict[int, Op] = dict(enumerate(order))  # by place in the order; joined ones leave a gap
        self._size = {i: len(op.reads) + len(op.writes) for i, op in self._at.items() if composable(op)}
        self._place: dict[str, int] = {value: i for i, op in self._at.items() for value in op.outputs}
        self._readers: dict[str, set[int]] = {}
        for i, op in self._at.items():
            for value in op.uses:
                self._readers.setdefault(value, set()).add(i)

    @property
    def ops(self) -> tuple[Op, ...]:
        return tuple(op for _, op in sorted(self._at.items(), key=lambda pair: pair[0]))

    def join(self, mix: Mix) -> None:
        """Try the mixes whose outputs ``mix`` reads, until none of them lowers the traffic."""
        at = self._place[mix.writes[0]]
        while self._step(at):
            at = self._place[mix.writes[0]]

    def _step(self, at: int) -> bool:
        second = self._at[at]
        assert isinstance(second, Mix)
        before = dict.fromkeys(self._place[value] for value in second.reads if value in self._place)
        latest = max(before, default=-1)
        for i in before:
            if len(second.reads) > 2 * self._size.get(i, 0):
                continue  # most of what it reads comes from elsewhere, or the other may not join
            first = self._at[i]
            assert isinstance(first, Mix)
            kept = tuple(value for value in first.writes if value == self.output or self._read_elsewhere(value, at))
            if kept and i != latest:
                continue  # it would have to run before one of the sources, or after one of its readers
            if self._replaced(i, at, joined(first, second, kept), i if kept else at):
                return True
        return False

    def _read_elsewhere(self, value: str, at: int) -> bool:
        readers = self._readers.get(value, ())
        return len(readers) > (at in readers)

    def _replaced(self, first: int, second: int, mix: Mix, place: int) -> bool:
        old, before = (self._at[first], self._at[second]), self.count.total
        for op in old:
            self.count.remove(op)
        self.count.add(mix)
        if self.count.total >= before:
            self.count.remove(mix)
            for op in old:
                self.count.add(op)
            return False
        self.joined = True
        for i in (first, second):
            for value in self._at[i].uses:
                self._readers[value].discard(i)
            del self._at[i]
        self._at[place] = mix
        self._size[place] = len(mix.reads) + len(mix.writes)
        for value in mix.uses:
            self._readers.setdefault(value, set()).add(place)
        self._place.update(dict.fromkeys(mix.writes, place))
        return True


def joined(first: Mix, second: Mix, kept: tuple[str, ...]) -> Mix:
    """``second`` reading the sources of ``first`` instead of its outputs; of these, ``kept`` are written too."""
    row = {value: i for i, value in enumerate(first.writes)}
    through = [(j, row[value]) for j, value in enumerate(second.reads) if value in row]
    sources = tuple(dict.fromkeys((*first.reads, *(value for value in second.reads if value not in row))))
    column = {value: j for j, value in enumerate(sources)}
    weight = multiply(
        pick(second.weight, columns=[j for j, _ in through]), pick(first.weight, rows=[i for _, i in through])
    )
    if len(through) < len(second.reads):
        shape = len(second.writes), len(sources)
        direct = [(i, column[v], i, j) for j, v in enumerate(second.reads) if v in column for i in range(shape[0])]
        weight = summed([place(weight, shape), moved(second.weight, shape, direct)])
    if kept:
        own = place(pick(first.weight, rows=[row[value] for value in kept]), (len(kept), len(sources)))
        weight = stacked(own, weight)
    return Mix(sources, (*kept, *second.writes), weight)
