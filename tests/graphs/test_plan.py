import os
import subprocess
import sys
from fractions import Fraction as F
from pathlib import Path

import pytest
from graph_oracles import meaning, run_exactly
from graph_samples import FAMILIES, exact_values, sample
from pass_samples import histories, streamed

from graphs import Block, Constant, Mix, Parameter, Plan, Topology, families, lower
from graphs.passes import PIPELINE, canonicalise
from graphs.plan import Step, steps_of
from graphs.weights import Product, Softmax, Sum, ones

SAMPLES = [(f"{seed}-{learned}", seed, learned) for seed in range(30) for learned in (False, True)]


def _topologies():
    yield from ((name, build()) for name, build in FAMILIES.items())
    yield from ((name, sample(seed, learned=learned)) for name, seed, learned in SAMPLES)


@pytest.mark.parametrize("topology", [pytest.param(t, id=name) for name, t in _topologies()])
def test_following_the_plan_gives_the_meaning(topology):
    plan = lower(topology)
    assert plan.digest == topology.digest
    for values in (None, exact_values(topology, 7)):
        got = run_exactly(plan, values)
        expected = meaning(topology, values, listed=True)
        assert got == {reader: expected[reader] for reader in got}
        assert got["output"] == expected["output"]


@pytest.mark.parametrize("topology", [pytest.param(t, id=name) for name, t in _topologies()])
def test_every_value_is_freed_once_at_its_last_use(topology):
    plan = lower(topology)
    lowered = plan.topology
    uses: dict[str, int] = {}
    for i, step in enumerate(plan.steps):
        for value in (*step.op.outputs, *step.op.uses):
            uses[value] = i
    freed = [(value, i) for i, step in enumerate(plan.steps) for value in step.frees]
    assert sorted(freed) == sorted((value, i) for value, i in uses.items() if value != lowered.output)


@pytest.mark.parametrize("topology", [pytest.param(t, id=name) for name, t in _topologies()])
def test_live_values_are_counted_as_they_are(topology):
    plan = lower(topology)
    alive, peak = {"x0"}, 1
    for step in plan.steps:
        assert alive.issuperset(step.op.uses)
        alive |= set(step.op.outputs)
        peak = max(peak, len(alive))
        alive -= set(step.frees)
        assert step.live == len(alive)
    assert alive == {plan.topology.output} | ({"x0"} if not plan.steps else set())
    assert plan.peak == peak


def test_peaks_by_hand():
    assert lower(families.residual(5)).peak == 3, "stream, block output, their sum"
    assert lower(families.to_output(5)).peak == 7, "x0, five outputs, their sum"
    assert lower(families.wiring(4)).peak == 2, "a chain: input and output of a block"


def _mutants(plan, kind):
    """Plans with one seeded fault each."""
    for i, step in enumerate(plan.steps):
        op = step.op
        if kind == "drop" and isinstance(op, Mix) and isinstance(op.weight, Constant):
            for r, row in enumerate(op.weight.entries):
                for j, entry in enumerate(row):
                    if entry:
                        rows = [list(other) for other in op.weight.entries]
                        rows[r][j] = 0
                        yield i, op.reads[j], Mix(op.reads, op.writes, Constant(rows))
        if kind == "swap" and len(op.reads) > 1:
            for j in range(len(op.reads) - 1):
                reads = list(op.reads)
                reads[j], reads[j + 1] = reads[j + 1], reads[j]
                if isinstance(op, Mix):
                    yield i, (op.reads[j], op.reads[j + 1]), Mix(tuple(reads), op.writes, op.weight)
                else:
                    yield i, (op.reads[j], op.reads[j + 1]), Block(op.number, tuple(reads), op.writes, op.ports)


def _with_step(plan, i, op):
    steps = list(plan.steps)
    steps[i] = Step(op, steps[i].frees, steps[i].live)
    return Plan(plan.topology, tuple(steps), plan.digest)


def _values_at(plan):
    """What each value holds, by the exact interpreter without frees."""
    steps = tuple(Step(step.op, (), step.live) for step in plan.steps)
    result = {}
    for value in {v for step in steps for v in (*step.op.reads, *step.op.outputs)}:
        target = Topology(plan.topology.ops, value, plan.topology.depth)
        result[value] = run_exactly(Plan(target, steps, ""))["output"]
    return result


def test_a_dropped_edge_is_caught():
    seen = 0
    for seed in range(40):
        plan = lower(sample(seed, learned=False))
        expected, holds = run_exactly(plan), _values_at(plan)
        for i, source, op in _mutants(plan, "drop"):
            if not holds[source]:
                continue  # the source is zero by cancellation: nothing is lost
            seen += 1
            lost = run_exactly(_with_step(plan, i, op))
            assert lost != expected
    assert seen > 60


def test_swapped_reads_are_caught():
    seen = 0
    for seed in range(60):
        plan = lower(sample(seed, learned=False))
        expected, holds = run_exactly(plan), _values_at(plan)
        for i, (one, other), op in _mutants(plan, "swap"):
            j = plan.steps[i].op.reads.index(one)
            columns = list(zip(*op.weight.entries, strict=True)) if isinstance(op, Mix) else [(0,), (1,)] * 4
            if holds[one] == holds[other] or columns[j] == columns[j + 1]:
                continue  # the two may be exchanged
            seen += 1
            assert run_exactly(_with_step(plan, i, op)) != expected
    assert seen > 20


def test_a_value_freed_a_step_early_is_caught():
    seen = 0
    for seed in range(40):
        plan = lower(sample(seed))
        for i, step in enumerate(plan.steps):
            for value in step.frees:
                if value not in step.op.reads or i == 0:
                    continue
                steps = list(plan.steps)
                steps[i] = Step(step.op, tuple(v for v in step.frees if v != value), step.live)
                steps[i - 1] = Step(steps[i - 1].op, (*steps[i - 1].frees, value), steps[i - 1].live)
                seen += 1
                with pytest.raises(KeyError):
                    run_exactly(Plan(plan.topology, tuple(steps), plan.digest))
    assert seen > 60


def test_observe_sees_the_input_and_every_pass():
    seen = []
    topology = families.hyper(2, streams=2)
    plan = lower(topology, lambda name, t: seen.append((name, t)))
    assert [name for name, _ in seen] == ["verify", *(step.__name__ for step in PIPELINE)]
    assert seen[0][1] is topology
    assert seen[-1][1] is plan.topology


def test_the_plan_is_printed_one_line_per_step():
    plan = lower(families.residual(2))
    lines = str(plan).splitlines()
    assert lines[0] == f"plan of residual(depth=2): 2 blocks, 2 mixes, {plan.digest}"
    assert len(lines) == 2 + len(plan.steps) + 1
    assert lines[2].split() == ["0", "0", "0", "2", "y1", "=", "block1(x0)"]
    assert lines[3].split() == ["1", "2", "1", "1", "h1", "=", "[1", "1]", ".", "(x0,", "y1)", "free", "x0", "y1"]
    assert lines[-1].split() == ["4", "2", "3", "in", "all", "(live:", "the", "peak);", "output", "h2"]


def test_every_rule_has_a_text():
    p, m = Parameter("p", ((1, F(1, 3)),)), Parameter("m", ((1, 2), (3, 4)))
    topology = Topology(
        (
            Block(1, ("x0",), "y1", name="first"),
            Mix(("x0", "y1"), ("a", "b"), Constant(((1, 0.5), (2, F(1, 3))))),
            Mix(("a", "b"), ("c",), Sum((p, Softmax(Parameter("q", ((0, 0),)), 0.25)))),
            Mix(("c", "y1"), ("d", "e"), m),
            Block(2, ("d", "e"), "y2", ("in", "memory"), "second"),
            Mix((*"abcde", "y2"), ("o",), Constant(((1, 2, 3, 4, 5, F(1, 4)),))),
        ),
        "o",
        2,
    )
    named = canonicalise(topology)
    text = str(Plan(named, steps_of(named), topology))
    for part in (
        "y1 = first(x0)",
        "(h1, h2) = constant[2, 2] . (x0, y1)",
        "h3 = (p + softmax(q / 0.25)) . (h1, h2)",
        "(h4, h5) = m . (h3, y1)",
        "y2 = second(h4, memory=h5)",
        "[1 2 3 4 5 0.25] . (h1, h2, h3, h4, h5, y2)",
    ):
        assert part in text
    product = Product(p, Constant(((1, 0), (0, 2))))
    assert "p @ constant[2, 2]" in str(
        lower(Topology((Block(1, ("x0",), "y"), Mix(("x0", "y"), ("o",), product)), "o", 1))
    )


def test_a_program_that_needs_no_step():
    plan = lower(Topology((Block(1, ("x0",), "y1"), Mix(("x0",), ("o",), ones(1, 1))), "o", 1))
    assert plan.steps == ()
    assert plan.peak == 1
    assert plan.topology.output == "x0"
    assert "0 blocks, 0 mixes" in str(plan)


def test_plans_do_not_depend_on_the_process():
    """Nor on the order of sets: a trial's sums are added up in one order on every worker."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from graphs import lower\n"
        "from pass_samples import histories, streamed\n"
        "for seed in range(40): print(repr(lower(streamed(seed)).steps), repr(lower(histories(seed)).steps))\n"
    )
    here = "".join(f"{lower(streamed(seed)).steps!r} {lower(histories(seed)).steps!r}\n" for seed in range(40))
    for seed in ("0", "1", "1234"):
        command = [sys.executable, "-c", script, str(Path(__file__).parent)]
        found = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True)
        assert found.stdout == here, (seed, found.stderr)
