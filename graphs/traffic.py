"""Counting tensor traffic, operation by operation: what passes ask before they keep a change, and `price` reports.

One unit is a pass over one hidden state (Td). Blocks' own reading and writing is their business.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from graphs.attention import attention
from graphs.topology import Block, Mix, Op, Topology


class Counts(NamedTuple):
    """What :class:`Traffic` counts of a whole topology."""

    forward: int
    backward: int
    kept: int


def counts(topology: Topology) -> Counts:
    """The traffic of the wiring as it is written; counted once per topology, which several passes and prices ask."""
    known: Counts | None = vars(topology).get("_counts")
    if known is None:
        count = Traffic(topology.ops)
        known = vars(topology)["_counts"] = Counts(count.forward, count.backward, count.kept)
    return known


def traffic(topology: Topology) -> int:
    """Forward and backward traffic of the wiring as it is written."""
    found = counts(topology)
    return found.forward + found.backward


# How one value is read, a list of five counts (plain lists: this is asked for every edge of every candidate).
READERS = 0  # edges of single-output mixes, keys, blocks' ports, mixes of several outputs
GATHERED = 1  # gradients that are read to make this value's own
SCALED = 2  # of these, the ones that are multiplied first
LEARNED = 3  # of these, the ones with a learned weight: the value itself is read once more
KEPT = 4  # readers that need the value for their weights' gradients


class Traffic:
    """The running count of a set of operations; ``add`` and ``remove`` cost what the operation reads and writes.

    Forward, a mix reads its sources and keys and writes its outputs. Backward is gathered: each value reads its
    consumers' gradients once and writes its own; with a single reader through a weight fixed at one its gradient is
    the reader's own, and costs nothing. Where weights are learned the value is read once more, and kept for it. A
    key is a reader with a learned weight. A mix of several outputs either takes part in that, a gradient per edge, or
    reads its output gradients once for all its sources, whichever is less: then it writes a gradient per source,
    which is final where the source has no other reader, and else is one of those that are gathered. Attention over
    depth reads each source once for key and value, and its backward pass reads its gradient and its output.
    """

    def __init__(self, ops: Iterable[Op] = ()) -> None:
        self.forward = 0
        self.backward = 0
        self.kept = 0  # hidden states that the backward pass needs
        self._values: defaultdict[str, list[int]] = defaultdict(lambda: [0] * 5)
        self._wide: dict[str, list[Mix]] = {}  # mixes of several outputs, by what they read
        self._joint: dict[int, bool] = {}
        for op in ops:
            self.add(op)

    @property
    def total(self) -> int:
        return self.forward + self.backward

    def add(self, op: Op) -> None:
        self._change(op, 1)

    def remove(self, op: Op) -> None:
        self._change(op, -1)

    def _change(self, op: Op, sign: int) -> None:
        beside = self._suspended(op, sign) if self._wide else []
        if isinstance(op, Block):
            for value in op.reads:
                self._read(value, sign, False, False)
            self._resumed(beside)
            return
        keys = op.keys
        if keys and attention(op) is not None:  # one operator: a source is its own key; the output is read once more
            keys = ()
            self.backward += 2 * sign
            self.kept += sign
        self.forward += sign * (len(op.reads) + len(keys) + len(op.writes))
        if op.norm is not None:
            self.backward += 2 * sign
            self.kept += sign
        trains = op.trains
        if len(op.writes) == 1:
            for value, (edges, scaled) in zip(op.reads, op.columns, strict=True):
                if edges:
                    self._read(value, sign, scaled, trains and scaled)
        else:
            if sign < 0:
                self._count(op, -1)
                for value in op.reads:
                    self._wide[value] = [mix for mix in self._wide[value] if mix is not op]
            for value, (edges, scaled) in zip(op.reads, op.columns, strict=True):
                if edges:
                    self._values[value][READERS] += sign
                    if trains and scaled:
                        self._keep(value, sign)
        for value in keys:
            self._read(value, sign, True, True)
        if len(op.writes) > 1 and sign > 0:
            for value in op.reads:
                self._wide.setdefault(value, []).append(op)
            self._count(op, 1)
        self._resumed(beside)

    def _read(self, value: str, sign: int, scaled: bool, learned: bool) -> None:
        """A reader of its own: it counts, and its gradient is gathered."""
        counts = self._values[value]
        counts[READERS] += sign
        if scaled:
            self._gather(value, sign, sign, sign if learned else 0)
            if learned:
                self._keep(value, sign)
            return
        others = counts[GATHERED] if sign > 0 else counts[GATHERED] - 1
        counts[GATHERED] += sign
        if others > 1 or counts[SCALED]:
            self.backward += sign
        elif others == 1:  # with two, both are read and their sum is written
            self.backward += 3 * sign

    def _gather(self, value: str, count: int, scaled: int, learned: int) -> None:
        counts = self._values[value]
        self.backward -= _cost(counts)
        counts[GATHERED] += count
        counts[SCALED] += scaled
        counts[LEARNED] += learned
        self.backward += _cost(counts)

    def _keep(self, value: str, sign: int) -> None:
        counts = self._values[value]
        self.kept -= counts[KEPT] > 0
        counts[KEPT] += sign
        self.kept += counts[KEPT] > 0

    def _suspended(self, op: Op, sign: int) -> list[Mix]:
        """Other mixes of several outputs for which a source gains its second reader, or loses all but one."""
        most = 2 if sign > 0 else 3 + len(op.uses) - len(set(op.uses))  # an operation may use a value several times
        found = {
            id(mix): mix
            for value in op.uses
            if value in self._wide and self._values[value][READERS] <= most
            for mix in self._wide[value]
            if mix is not op
        }
        for mix in found.values():
            self._count(mix, -1)
        return list(found.values())

    def _resumed(self, mixes: list[Mix]) -> None:
        for mix in mixes:
            self._count(mix, 1)

    def _count(self, mix: Mix, sign: int) -> None:
        """The backward pass of a mix of several outputs: joint or edge by edge."""
        learned = mix.trains
        edges = [(value, *column) for value, column in zip(mix.reads, mix.columns, strict=True) if column[0]]
        if sign > 0:
            joint, gather = len(mix.writes), 0
            for value, count, scaled in edges:
                alone = self._values[value][READERS] == 1
                joint += 0 if alone else 2 + (learned and scaled)
                gather += count if not alone or count > 1 or scaled else 0
            self._joint[id(mix)] = joint < gather
        together = self._joint[id(mix)] if sign > 0 else self._joint.pop(id(mix))
        if together:
            self.backward += sign * len(mix.writes)
        for value, count, scaled in edges:
            trains = learned and scaled
            if not together:
                self._gather(value, sign * count, sign * scaled * count, sign * trains * count)
            elif self._values[value][READERS] > 1:
                self._gather(value, sign, 0, 0)
                self.backward += sign * (1 + trains)
            elif count > 1 or scaled:
                self.backward += sign * (1 + trains)


def _cost(counts: list[int]) -> int:
    """What a value's gradient moves where it is gathered; nothing where it is the only reader's own, or unread."""
    return counts[GATHERED] + 1 + (counts[LEARNED] > 0) if counts[GATHERED] > 1 or counts[SCALED] else 0
