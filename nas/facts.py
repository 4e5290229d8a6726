"""What can be said of a topology before anything is trained: the lines of ``wireloom show``. Needs no torch.

A further group of facts is a function that returns them, called in :func:`facts`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from graphs import BlockCost, ModelCost, Plan, Topology, price, start_up
from nas.baselines import designs
from nas.experiment import Experiment
from nas.pricing import broken_limit, model_cost
from nas.units import show
from search_space.wiring import WIRING
from trainers.errors import TrainerError
from trainers.recipe import steps_for

DIM = 256  # where no experiment says how wide the hidden states are


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of text for people, and a key with its plain value for programs."""

    key: str
    value: Any
    text: str


def facts(plan: Plan, experiment: Experiment | None = None) -> tuple[Fact, ...]:
    """The facts of a topology's plan; with an experiment also those of its backbone wired so."""
    return (*_wiring(plan), *_start(plan), *(() if experiment is None else _model(plan, experiment)))


def _wiring(plan: Plan) -> Iterator[Fact]:
    nothing = (BlockCost(0, 0),) * plan.topology.depth
    cost = price(plan, ModelCost(tokens=1, dim=DIM, blocks=nothing))
    each = round(cost.wiring_flops / DIM)
    yield Fact("wiring_parameters", cost.wiring_parameters, f"wiring parameters: {cost.wiring_parameters:,}")
    yield Fact(
        "wiring_flops_per_element",
        each,
        f"wiring FLOPs: {each:,} per channel of a token, so {cost.wiring_flops:,.0f} a token at dim {DIM}",
    )
    both = f"{cost.forward_traffic} forward and {cost.backward_traffic} backward"
    yield Fact("forward_traffic", cost.forward_traffic, f"wiring traffic: {both}, in passes over one hidden state")
    yield Fact("backward_traffic", cost.backward_traffic, "")
    yield Fact("peak_live", cost.peak_live, f"hidden states alive at once: {cost.peak_live}")
    yield Fact("kept", cost.kept, f"hidden states the wiring keeps for its backward pass: {cost.kept}")


STARTS = {
    "yes": "equals the residual network",
    "scaled": "equals the residual network up to a positive scale per reader (blocks that normalise do not see it)",
    "no": "differs from the residual network",
    "unknown": "not known: weights start at random",
}


def _start(plan: Plan) -> Iterator[Fact]:
    """What holds before the first step of training."""
    known = start_up(plan.source)
    yield Fact("residual_at_start", known.residual, f"at the start: {STARTS[known.residual]} ({known.reason})")
    dead = f"{known.dead} hidden states equal another one for ever: streams that cannot come apart"
    yield Fact("dead", known.dead, f"dead symmetry: {dead if known.dead else 'none'}")
    redundant = f"redundant weights: {known.redundant} share their value with another one for ever"
    yield Fact("redundant", known.redundant, redundant if known.redundant else "")
    yield Fact("rank", known.rank, "" if known.rank is None else f"rank of the connection matrix: {known.rank}")
    yield Fact("paths", known.to_dict()["paths"], f"paths from the stem to the output: {known.paths:,}")
    growth = known.growth
    if growth is not None:
        text = f"signal growth, blocks of variance one: block {len(growth) - 1} reads {growth[-2]:.3g}"
        yield Fact("growth", list(growth), f"{text}, the output {growth[-1]:.3g}")


def _model(plan: Plan, experiment: Experiment) -> Iterator[Fact]:
    cost = price(plan, model_cost(experiment, plan.source))
    backbone = f"{experiment.backbone.kind}, dim {experiment.backbone.dim}"
    share = cost.wiring_flops / cost.flops
    yield Fact("experiment", experiment.name, f"in {experiment.name} ({backbone}):")
    yield Fact("flops", cost.flops, f"  FLOPs of a sample: {show('flops', cost.flops)}, of which wiring {share:.1%}")
    wiring = f"of which wiring {cost.wiring_parameters:,}"
    yield Fact("parameters", cost.parameters, f"  parameters: {cost.parameters:,}, {wiring}")
    budget = f"{experiment.train.budget_gflops:g} training GFLOPs"
    try:
        steps: int | None = steps_for(experiment.train.budget_gflops * 1e9, round(cost.flops), experiment.train.batch)
        bought = f"{steps:,} steps of {experiment.train.batch} samples for {budget}"
    except TrainerError as error:
        steps, bought = None, str(error)
    yield Fact("training_steps", steps, f"  training: {bought}")
    problem = broken_limit(experiment, cost)
    yield Fact("over_limit", problem, f"  limits: {'kept' if problem is None else problem}")


def examples(experiment: Experiment) -> Iterator[tuple[str, Topology]]:
    """A topology of each family of an experiment, with words on which it is.

    Known designs stand as they race; wiring, which has no published design, as a random point.
    """
    space = experiment.space
    declared = {family.name for family in space.families}
    for design in designs(experiment):
        family = design.point.family
        if not experiment.search.baselines and family not in declared:
            continue
        known = family if family in declared else f"{family}, not declared but always in the race"
        role = f"baseline, {design}" if experiment.search.baselines else "at its published settings"
        yield f"{known}: {role}", space.topology(design.point)
    if WIRING in declared:
        seed = experiment.seed
        yield f"{WIRING}: a random example (seed {seed})", space.topology(space.example(WIRING, Random(seed)))
