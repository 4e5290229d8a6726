import random
from importlib import import_module
from itertools import pairwise

import pytest
from pass_samples import SAMPLES, differences, exact_values, generic_values, histories, learned, meanings, reads

from graphs import Block, Constant, Mix, Parameter, Softmax, Topology, families, lower
from graphs.passes import fold, group, prune
from graphs.passes.group import blocked
from graphs.traffic import Traffic, traffic
from graphs.weights import CHANNEL, MATRIX, Place, ones, walk

module = import_module("graphs.passes.group")


def _groups(topology):
    """Outputs and reads of each mix that serves several consumers."""
    return [(len(mix.writes), len(mix.reads)) for mix in topology.mixes if len(mix.writes) > 1]


def _pruned(topology):
    return prune(fold(prune(topology)))


@pytest.mark.parametrize("depth", [12, 48, 100])
def test_reads_of_dense_drop_as_predicted(depth):
    """A group of S reads its history of k once; inside it consumer i reads its partial sum and i new sources."""
    topology = _pruned(families.dense(depth, inner=False))
    after = group(topology)
    as_written = depth * (depth + 3) // 2
    assert reads(topology) == as_written
    groups = _groups(after)
    alone = depth - sum(size for size, _ in groups)
    predicted = sum(width + (size - 1) + size * (size - 1) // 2 for size, width in groups)
    predicted += sum(k + 1 for k in range(1, alone + 1))  # the first few have histories too short to share
    assert reads(after) == predicted
    assert all(width == 1 + alone + i for i, (_, width) in zip(_starts(groups), groups, strict=True))
    sizes = [size for size, _ in groups]
    root = depth**0.5
    assert all(one <= other for one, other in pairwise(sizes)), "longer histories, larger groups"
    assert root / 2 < sum(sizes) / len(sizes) < 2 * root
    assert reads(after) < 1.2 * depth**1.5
    assert list(differences(topology, after, 0)) == []
    assert traffic(after) < (0.75 if depth == 12 else 0.5) * traffic(topology)


def _starts(groups):
    start = 1
    for size, _ in groups:
        yield start
        start += size


def test_at_48_blocks_the_published_average_reads_a_third():
    """DenseFormer with its inner residuals, as lowered."""
    written, lowered = (Traffic(t.ops) for t in (_pruned(families.dense(48)), lower(families.dense(48)).topology))
    assert written.forward == 48 * 51 // 2 + 48 + 3 * 48
    assert lowered.forward < 0.42 * written.forward
    assert lowered.backward < 0.55 * written.backward


def test_a_softmax_is_picked_from():
    topology = _pruned(families.ancre(20, temperature=0.5))
    after = group(topology)
    assert _groups(after)
    rules = {rule for mix in topology.mixes for rule in walk(mix.weight) if isinstance(rule, Softmax)}
    still = {rule for mix in after.mixes for rule in walk(mix.weight) if isinstance(rule, Softmax)}
    assert still == rules, "one softmax a reader over all its sources"
    assert all(isinstance(rule, Place) for mix in after.mixes for rule in _linear(mix.weight, Softmax))
    assert list(differences(topology, after, 0)) == []
    assert learned(after) == learned(topology)


def _linear(weight, kind):
    """What directly holds a rule of this kind."""
    return [rule for rule in walk(weight) if any(isinstance(child, kind) for child in rule.children)]


def test_ports_that_read_one_history_share_it_at_once():
    chain = [Block(k, ("x0" if k == 1 else f"y{k - 1}",), f"y{k}") for k in range(1, 9)]
    sources = tuple(f"y{k}" for k in range(1, 9))
    mixes = [Mix(sources, (name,), Parameter(f"p{name}", ((1,) * 8,))) for name in "qkv"]
    topology = Topology((*chain, *mixes, Block(9, tuple("qkv"), "y9", tuple("qkv"))), "y9", 9)
    after = group(topology)
    (mix,) = after.mixes
    assert (mix.reads, mix.writes) == (sources, ("q", "k", "v"))
    assert list(differences(topology, after, 0)) == []


def test_fixed_rows_are_one_matrix():
    chain = [Block(k, ("x0" if k == 1 else f"y{k - 1}",), f"y{k}") for k in range(1, 9)]
    sources = tuple(f"y{k}" for k in range(1, 9))
    mixes = [Mix(sources, (f"u{i}",), Constant((tuple((i + j) % 5 + 2 for j in range(8)),))) for i in range(4)]
    topology = Topology((*chain, *mixes, Block(9, ("u0", "u1", "u2", "u3"), "y9", tuple("abcd"))), "y9", 9)
    after = group(topology)
    assert after.mixes[0].weight == Constant(tuple(mix.weight.entries[0] for mix in mixes))
    assert after == topology


def test_weights_of_one_grain_keep_to_themselves():
    chain = [Block(k, ("x0" if k == 1 else f"y{k - 1}",), f"y{k}") for k in range(1, 9)]
    sources = tuple(f"y{k}" for k in range(1, 9))
    grains = {"a": {}, "b": {"grain": CHANNEL}, "c": {}, "d": {"grain": CHANNEL}, "e": {"grain": MATRIX}, "f": {}}
    mixes = [Mix(sources, (n,), Parameter(f"p{n}", ((1,) * 8,), **grain)) for n, grain in grains.items()]
    topology = Topology((*chain, *mixes, Block(9, tuple(grains), "y9", tuple(grains))), "y9", 9)
    assert {mix.writes for mix in group(topology).mixes} == {("a", "c", "f"), ("b", "d"), ("e",)}


def test_short_histories_stay():
    for topology in (families.dense(3, inner=False), families.to_output(30), families.residual(30)):
        pruned = _pruned(topology)
        assert group(pruned) is pruned


def test_the_groups_are_the_best_there_are():
    """Against every partition of a few consumers, counted on the real program."""
    for seed in range(30):
        rng = random.Random(seed)
        depth = rng.randint(4, 7)
        topology = prune(_dense_like(depth, rng))
        after = group(topology)
        masks, older = _bits(topology)
        _, least = blocked(masks, older)
        assert least == min(_cost(masks, older, cuts) for cuts in _partitions(len(masks)))
        assert traffic(after) <= traffic(topology)


def _dense_like(depth, rng):
    ops = []
    for block in range(1, depth + 2):
        sources = ("x0", *(f"y{k}" for k in range(1, block)))
        kept = tuple(value for value in sources if rng.random() < 0.9) or sources
        ops.append(Mix(kept, (f"u{block}",), Parameter(f"p{block}", ((1,) * len(kept),))))
        if block <= depth:
            ops.append(Block(block, (f"u{block}",), f"y{block}"))
    return Topology(tuple(ops), f"u{depth + 1}", depth)


def _bits(topology):
    consumers = [mix for mix in topology.mixes if len(mix.reads) >= 4]
    born = {"x0": 0} | {block.writes: block.number for block in topology.blocks}
    ranks = {value: j for j, value in enumerate(sorted({v for m in consumers for v in m.reads}, key=born.get))}
    masks = [sum(1 << ranks[value] for value in mix.reads) for mix in consumers]
    older = [sum(born[v] < int(mix.writes[0][1:]) for v in ranks) for mix in consumers]
    return masks, older


def _partitions(count):
    if count == 0:
        yield []
    for size in range(1, count + 1):
        yield from ([size, *rest] for rest in _partitions(count - size))


def _cost(masks, older, sizes):
    """The traffic of groups of these sizes, from the definition."""
    total = first = 0
    for size in sizes:
        members = range(first, first + size)
        past = {i: {j for j in range(older[first]) if masks[i] >> j & 1} for i in members}
        late = {i: {j for j in range(older[first], 64) if masks[i] >> j & 1} for i in members}
        using = [i for i in members if len(past[i]) >= 3] if size > 1 else []
        total += sum(2 * (len(past[i]) + len(late[i])) + 1 for i in members if i not in using)
        if using:
            shared = set().union(*(past[i] for i in using))
            forward = len(shared) + len(using) + sum(1 + len(late[i]) + 1 for i in using if late[i])
            gathered = sum(len(past[i]) for i in using)
            backward = min(gathered, len(using) + 3 * len(shared)) + sum(len(late[i]) for i in using)
            total += forward + backward
        first += size
    return total


@pytest.mark.parametrize("fault", ["column", "row", "in-group"])
def test_wrong_offsets_are_caught(fault, monkeypatch):
    """The mutant takes the weight of a neighbouring column, writes a neighbouring row, or shifts what is new."""
    moved = module.moved

    def faulty(weight, shape, cells):
        m, k = shape
        if fault == "column" and m > 1:
            cells = [(i, j, a, (b + 1) % weight.shape[1]) for i, j, a, b in cells]
        if fault == "row" and m > 1:
            cells = [((i + 1) % m, j, a, b) for i, j, a, b in cells]
        if fault == "in-group" and m == 1 and k > 2:
            cells = [(i, 1 + j % (k - 1), a, b) for i, j, a, b in cells]
        return moved(weight, shape, cells)

    monkeypatch.setattr(module, "moved", faulty)
    caught = seen = 0
    for seed in range(30):
        topology = prune(histories(seed))
        after = group(topology)
        if after is topology or (fault == "in-group" and not any(_late(mix) for mix in after.mixes)):
            continue
        values = generic_values(topology, seed)
        seen += 1
        caught += meanings(after, values) != meanings(topology, values)
    assert caught == seen > 15


def _late(mix):
    return mix.reads[0].startswith("p") and len(mix.reads) > 2


def test_a_consumer_that_forgets_its_partial_sum_is_caught(monkeypatch):
    monkeypatch.setattr(module, "Constant", lambda rows: Constant(tuple((0, *row[1:]) for row in rows)))
    topology = prune(families.dense(20, inner=False))
    values = exact_values(topology, 0)
    assert meanings(group(topology), values) != meanings(topology, values)


def test_work_per_edge_does_not_grow_with_the_depth(monkeypatch):
    """Entries moved: one for each edge, whatever the depth."""
    moved, calls = module.moved, {}
    for depth in (60, 240):
        count = 0

        def counted(weight, shape, cells):
            nonlocal count
            count += len(cells)
            return moved(weight, shape, cells)

        monkeypatch.setattr(module, "moved", counted)
        topology = _pruned(families.dense(depth, inner=False))
        group(topology)
        calls[depth] = count / reads(topology)
    assert 0.8 < calls[60] <= 1
    assert 0.8 < calls[240] <= 1


def test_plain_sums_of_one_output_are_no_group():
    topology = Topology((Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("o",), ones(1, 2))), "o", 1)
    assert group(topology) is topology


def test_the_samples_have_groups():
    assert sum(bool(_groups(group(prune(SAMPLES["histories"](seed))))) for seed in range(30)) > 20
