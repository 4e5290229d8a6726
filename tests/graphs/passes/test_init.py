import pytest
from graph_oracles import meaning
from graph_samples import FAMILIES, exact_values, sample

from graphs import Block, Topology, lower, passes
from graphs.passes import PIPELINE


def _same(before: Topology, after: Topology, seed: int) -> None:
    for values in (None, exact_values(before, seed)):
        assert meaning(after, values) == meaning(before, values)
        kept, listed = meaning(after, values, listed=True), meaning(before, values, listed=True)
        assert kept == {reader: listed[reader] for reader in kept}
    assert after == before
    assert (after.depth, after.family, after.settings) == (before.depth, before.family, before.settings)
    names = {block.number: block.name for block in before.blocks}
    assert all(names[block.number] == block.name for block in after.blocks)


@pytest.mark.parametrize("run", [passes.prune, passes.fold, passes.canonicalise])
@pytest.mark.parametrize("learned", [False, True])
def test_each_pass_keeps_the_exact_meaning(run, learned):
    for seed in range(60):
        topology = sample(seed, learned=learned)
        _same(topology, run(topology), seed)


@pytest.mark.parametrize("learned", [False, True])
def test_the_pipeline_keeps_the_exact_meaning(learned):
    for seed in range(60, 160):
        topology = sample(seed, learned=learned)
        _same(topology, lower(topology).topology, seed)


@pytest.mark.parametrize("name", FAMILIES)
def test_families_keep_the_exact_meaning(name):
    topology = FAMILIES[name]()
    after = topology
    for run in PIPELINE:
        after = run(after)
        _same(topology, after, 3)


@pytest.mark.parametrize("run", [passes.prune, passes.canonicalise, lambda t: lower(t).topology])
def test_a_second_run_changes_nothing(run):
    for seed in range(40):
        once = run(sample(seed))
        assert set(run(once).ops) == set(once.ops)


def test_the_samples_exercise_the_passes():
    """Guards the generator: enough dead ends, folds, ties, ports, learned and fixed programs to mean something."""
    samples = [sample(seed) for seed in range(60)]
    lowered = [lower(topology).topology for topology in samples]
    assert sum(len(t.blocks) < len(s.blocks) for s, t in zip(samples, lowered, strict=True)) > 10
    assert sum(len(t.mixes) < len(s.mixes) for s, t in zip(samples, lowered, strict=True)) > 20
    assert sum(len(t.blocks) >= 3 for t in lowered) > 10
    assert sum(len(t.mixes) >= 3 for t in lowered) > 20
    assert sum("program" in t.certificate[:10] for t in lowered) > 20
    assert any(len(op.ports) > 1 for t in lowered for op in t.ops if isinstance(op, Block))
    assert any(len(mix.writes) > 1 for t in lowered for mix in t.mixes)
