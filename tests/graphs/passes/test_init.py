import pytest
import torch
from graph_oracles import meaning, run_exactly
from graph_samples import FAMILIES, exact_values, sample
from pass_samples import SAMPLES, all_pairs, differences, generic_values, learned, meanings, mutants
from torch import nn

import graphs
from graphs import Block, BlockCost, ModelCost, Plan, Topology, families, lower, passes
from graphs.cost import cost_of, price, wiring_sizes
from graphs.passes import PIPELINE
from graphs.plan import Step
from graphs.rules import verify
from graphs.traffic import traffic

EVERY = {run.__name__: run for run in (*PIPELINE, passes.to_history, passes.to_streams)}
# What the identity of programs sees through. It takes fixed sums apart, but a sum with learned weights is one thing to
# it: where two of them are composed (defer, forms) or one is cut in two (group) it finds another program.
KEEP_THE_DIGEST = ("prune", "fold", "factor", "canonicalise")


def _same(before: Topology, after: Topology, seed: int, *, digest: bool) -> None:
    for values in (None, exact_values(before, seed)):
        assert meaning(after, values) == meaning(before, values)
        kept, listed = meaning(after, values, listed=True), meaning(before, values, listed=True)
        assert kept == {reader: listed[reader] for reader in kept}
    assert not digest or after == before
    assert list(differences(before, after, seed)) == []
    verify(after)  # which the pass itself does not


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("fixed", [False, True])
def test_each_pass_keeps_the_exact_meaning(name, fixed):
    for seed in range(60):
        topology = sample(seed, learned=not fixed)
        _same(topology, EVERY[name](topology), seed, digest=fixed or name in KEEP_THE_DIGEST)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("draw", SAMPLES)
def test_each_pass_keeps_what_it_is_meant_for(name, draw):
    """Random programs in which the passes find something, at their start and at other exact values."""
    for seed in range(100):
        topology = SAMPLES[draw](seed)
        after = EVERY[name](topology)
        verify(after)
        assert list(differences(topology, after, seed)) == [], f"{draw} {seed}"
        assert learned(passes.prune(after)) == learned(passes.prune(topology))
        if name in ("factor", "defer", "group"):
            assert traffic(after) <= traffic(topology)
        if name == "forms":
            assert traffic(passes.group(after)) <= traffic(passes.group(topology))


@pytest.mark.parametrize("draw", SAMPLES)
def test_the_pipeline_keeps_the_exact_meaning_of_what_it_changes(draw):
    for seed in range(100, 250):
        topology = SAMPLES[draw](seed)
        plan = lower(topology)
        assert list(differences(topology, plan.topology, seed)) == [], f"{draw} {seed}"
        costs = ModelCost(3, 12, tuple(BlockCost(10.0 * i, i) for i in range(topology.depth)))
        assert cost_of(topology, costs) == price(plan, costs)
        values = exact_values(topology, seed)
        got, expected = run_exactly(plan, values), meanings(topology, values)
        assert got == {reader: expected[reader] for reader in got}
        as_written = passes.prune(topology)
        assert traffic(plan.topology) <= traffic(as_written)
        assert learned(plan.topology) == learned(as_written)


@pytest.mark.parametrize("fixed", [False, True])
def test_the_pipeline_keeps_the_exact_meaning(fixed):
    for seed in range(60, 160):
        topology = sample(seed, learned=not fixed)
        _same(topology, lower(topology).topology, seed, digest=fixed)


@pytest.mark.parametrize("name", FAMILIES)
def test_families_keep_the_exact_meaning(name):
    topology = after = FAMILIES[name]()
    seen = True
    for run in PIPELINE:
        before, after = after, run(after)
        seen = seen and (run.__name__ in KEEP_THE_DIGEST or after is before)
        _same(topology, after, 3, digest=seen)
    plan = Plan(after, (), topology)
    unchanged = Plan(passes.prune(topology), (), topology)
    assert wiring_sizes(plan, 12) == wiring_sizes(unchanged, 12), "the same parameters, each of the same size"


@pytest.mark.parametrize("run", [passes.prune, passes.canonicalise])
def test_a_second_run_changes_nothing(run):
    for seed in range(40):
        once = run(sample(seed))
        assert set(run(once).ops) == set(once.ops)


@pytest.mark.parametrize("draw", SAMPLES)
def test_lowering_what_is_lowered_adds_nothing(draw):
    for seed in range(20):
        once = lower(SAMPLES[draw](seed)).topology
        assert traffic(lower(once).topology) <= traffic(once)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "canonicalise"])
def test_nothing_to_do_is_the_same_object(name):
    """So that a pass which changes nothing costs no check of what it returns."""
    for topology in (families.residual(5), families.to_output(5), families.wiring(4, learned=True)):
        pruned = passes.prune(topology)
        assert EVERY[name](pruned) is pruned or name in ("to_history",)


@pytest.mark.parametrize("name", ["fold", "factor", "defer", "group", "to_history", "to_streams"])
def test_a_dropped_edge_and_swapped_reads_are_caught(name):
    """Every such fault in what a pass wrote shows in the exact meaning."""
    seen = {"drop": 0, "swap": 0}
    for draw, count in (("sums", 40), ("streamed", 12), ("products", 12), ("histories", 4)):
        for seed in range(count):
            topology = passes.prune(SAMPLES[draw](seed))
            after = passes.prune(EVERY[name](topology))
            values = generic_values(topology, seed)
            expected = meanings(after, values)
            for kind, mutant in mutants(topology, after, values):
                assert meanings(mutant, values) != expected, (name, kind, seed)
                seen[kind] += 1
    assert min(seen.values()) > 20, seen


@pytest.mark.parametrize("draw", SAMPLES)
def test_a_value_freed_a_step_early_is_caught(draw):
    seen = 0
    for seed in range(20):
        plan = lower(SAMPLES[draw](seed))
        for i, step in enumerate(plan.steps):
            for value in step.frees:
                if value not in step.op.uses or i == 0:
                    continue
                steps = list(plan.steps)
                steps[i] = Step(step.op, tuple(v for v in step.frees if v != value), step.live)
                steps[i - 1] = Step(steps[i - 1].op, (*steps[i - 1].frees, value), steps[i - 1].live)
                seen += 1
                with pytest.raises(KeyError):
                    run_exactly(Plan(plan.topology, tuple(steps), plan.source))
    assert seen > 30


def test_the_samples_exercise_the_passes():
    """Guards the generators: enough dead ends, folds, ties, ports, learned and fixed programs to mean something."""
    samples = [sample(seed) for seed in range(60)]
    lowered = [lower(topology).topology for topology in samples]
    assert sum(len(t.blocks) < len(s.blocks) for s, t in zip(samples, lowered, strict=True)) > 10
    assert sum(len(t.mixes) < len(s.mixes) for s, t in zip(samples, lowered, strict=True)) > 20
    assert sum(len(t.blocks) >= 3 for t in lowered) > 10
    assert sum(len(t.mixes) >= 3 for t in lowered) > 15
    assert sum("program" in t.certificate[:10] for t in samples) > 20
    assert any(len(op.ports) > 1 for t in lowered for op in t.ops if isinstance(op, Block))
    assert any(len(mix.writes) > 1 for t in lowered for mix in t.mixes)
    for name, draw in (("factor", "sums"), ("defer", "streamed"), ("forms", "streamed"), ("group", "histories")):
        pruned = [passes.prune(SAMPLES[draw](seed)) for seed in range(60)]
        assert sum(EVERY[name](topology) is not topology for topology in pruned) > 30, name


class Smooth(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.map = nn.Linear(dim, dim)

    def forward(self, u):
        return torch.tanh(self.map(u))


@pytest.mark.parametrize(
    "topology",
    [
        families.dense(12),
        families.dense(9, inner=False),
        families.hyper(4, streams=4),
        families.hyper(30, streams=2),
        families.ancre(12, temperature=0.5),
        families.wiring(8, edges=[(0, 2), (1, 5), (2, 4), (0, 9), (3, 9), (1, 9), (5, 9)], learned=True),
        families.mhc(4, streams=4, dynamic=False),
        families.frac(6, fractions=2),
        families.layerscale(6),
        families.densenet(5),
        all_pairs(10, lambda age: 1 + age % 2),
    ],
    ids=str,
)
def test_a_model_gives_the_same_with_and_without_the_passes(topology, monkeypatch):
    """Values and every gradient, fp64, away from the start."""
    dim = 4
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        blocks = [Smooth(dim) for _ in range(topology.depth)]
        model = graphs.compile(topology, blocks, dim=dim)
        monkeypatch.setattr("graphs.plan.PIPELINE", (passes.prune,))
        plain = graphs.compile(topology, blocks, dim=dim)
    finally:
        torch.set_default_dtype(torch.float32)
    if topology.family not in ("wiring", "layerscale", "densenet"):
        assert traffic(model.plan.topology) < traffic(plain.plan.topology), "there is something to compare"
    named = dict(model.weights.named_parameters())
    assert named.keys() == dict(plain.weights.named_parameters()).keys()
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.add_(0.3 * torch.randn_like(parameter))
            getattr(plain.weights, name).copy_(parameter)
    x0 = torch.randn(3, dim, dtype=torch.float64, requires_grad=True)
    probe = torch.randn(3, dim, dtype=torch.float64)
    results = []
    for one in (model, plain):
        out = one(x0)
        leaves = [x0, *(p for block in blocks for p in block.parameters()), *map(one.weights.get_parameter, named)]
        gradients = torch.autograd.grad((out * probe).sum(), leaves, allow_unused=True, materialize_grads=True)
        results.append([out, *gradients])
    largest = max(tensor.abs().max().item() for tensor in results[1])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12 * largest)
