"""Plan and price a point without torch: everything up to the decision whether to train it."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphs import BlockCost, Cost, ModelCost, Topology, TopologyError
from graphs.cost import cost_of
from nas.experiment import Backbone, Experiment
from nas.memory import peak_bytes
from nas.objectives import COUNTED
from search_space.space import Point
from trainers import costs as backbone_costs
from trainers import shapes as backbone_shapes
from trainers.catalogue import describe
from trainers.errors import TrainerError
from trainers.recipe import steps_for

Named = tuple[tuple[str, Any], ...]
CORNERS = 64  # extreme points of a space that are priced to see what it costs at most


@dataclass(frozen=True, slots=True)
class Priced:
    """A topology with its counted cost, and the training steps its budget buys at what each costs.

    ``peak_bytes`` estimates the memory that its training takes.
    """

    topology: Topology
    cost: Cost
    steps: int
    flops_per_step: float
    peak_bytes: float


def model_cost(experiment: Experiment, topology: Topology) -> ModelCost:
    """What the backbone of ``experiment`` costs with the blocks that ``topology`` asks for.

    TopologyError where it asks for inputs that the backbone's blocks do not have.
    """
    _check_ports(topology, experiment.backbone.kind)
    hints = tuple((number, tuple(own.items())) for number, own in topology.block_hints.items())
    sizes = tuple(describe(experiment.data.source).items())
    return _model_cost(_options(experiment.backbone), sizes, topology.depth, hints)


@lru_cache(maxsize=256)
def _model_cost(options: Named, sizes: Named, depth: int, hints: tuple[tuple[int, Named], ...]) -> ModelCost:
    known = dict(options)
    parts = backbone_costs.price(
        known.pop("kind"),
        depth=depth,
        hints={number: dict(own) for number, own in hints},
        **dict(sizes),
        **known,
    )
    return ModelCost(
        tokens=parts.tokens,
        dim=parts.dim,
        blocks=tuple(BlockCost(block.flops, block.parameters) for block in parts.blocks),
        fixed=BlockCost(parts.stem_flops + parts.head_flops, parts.stem_parameters + parts.head_parameters),
    )


def _check_ports(topology: Topology, kind: str) -> None:
    for block in topology.blocks:
        ports = backbone_shapes.ports(kind, block.number)
        if len(block.ports) not in (1, len(ports)):
            reads = f"reads {len(block.ports)} values ({', '.join(block.ports)})"
            has = "has 1 input; choose a form of the family with one"
            if len(ports) > 1:
                has = f"has {len(ports)} inputs ({', '.join(ports)})"
            elif len(backbone_shapes.ports(kind, 1)) == len(block.ports):
                has = "there has 1 input; choose a period that puts such reads before its other blocks alone"
            raise TopologyError(f"block {block.number} of {topology} {reads}, but a block of the backbone {kind} {has}")


def backbone_options(experiment: Experiment) -> dict[str, Any]:
    """The backbone's section as plain options, without those left at None."""
    return dict(_options(experiment.backbone))


@lru_cache(maxsize=16)
def _options(backbone: Backbone) -> Named:
    return tuple(backbone.model_dump(exclude_none=True).items())


def priced(experiment: Experiment, topology: Topology) -> Priced:
    """Plan and price; TrainerError where the budget does not buy one step."""
    model = model_cost(experiment, topology)
    cost = cost_of(topology, model)
    batch = experiment.train.batch
    steps = steps_for(experiment.train.budget_gflops * 1e9, round(cost.flops), batch)
    return Priced(topology, cost, steps, batch * cost.training_flops, peak_bytes(cost, model, batch))


@dataclass(frozen=True, slots=True)
class Judged:
    """What may be done with a point: its topology if legal, its plan if it can be trained, and what speaks against it.

    A plan with a ``reason`` is over a limit. Of what the search has seen before only the digest is ``known``.
    """

    topology: Topology | None = None
    plan: Priced | None = None
    reason: str | None = None
    known: str | None = None

    @property
    def digest(self) -> str | None:
        """The identity of the program; None of what is illegal, which has none."""
        return self.known if self.topology is None else self.topology.digest


def judge(experiment: Experiment, point: Point) -> Judged:
    """Look at a point of the space."""
    try:
        topology = experiment.space.topology(point)
    except TopologyError as error:
        return Judged(reason=str(error))
    return judge_topology(experiment, topology)


def judge_topology(experiment: Experiment, topology: Topology) -> Judged:
    """Look at a topology, of the space or not."""
    try:
        plan = priced(experiment, topology)
    except (TopologyError, TrainerError) as error:  # the blocks lack its inputs; the budget is below one step
        return Judged(topology, reason=str(error))
    return Judged(topology, plan, broken_limit(experiment, plan.cost, plan.peak_bytes))


def judged(experiment: Experiment, point: Point) -> tuple[Priced | None, str | None]:
    """The plan of a point of the space if it may be trained, else why it may not: illegal, too dear or over a limit."""
    found = judge(experiment, point)
    return (found.plan, None) if found.reason is None else (None, found.reason)


def counted(cost: Cost, peak: float | None = None) -> dict[str, float]:
    """What is counted of a topology, by metric; ``peak`` are the bytes of its training, where they are known."""
    found = {name: float(getattr(cost, name)) for name in COUNTED}
    return found if peak is None else found | {"memory": peak}


def broken_limit(experiment: Experiment, cost: Cost, peak: float | None = None) -> str | None:
    """Why what is counted is over a limit of the experiment, or None; latency is measured, and not known here."""
    known = counted(cost, peak)
    for metric, limit in experiment.limits.items():
        if known.get(metric, 0.0) > limit:
            return f"{metric} {known[metric]:,.0f} is over the limit {limit:,.0f}"
    return None


def corner_costs(experiment: Experiment) -> list[dict[str, float]]:
    """What is counted of the baselines and of extreme points of the space, as far as they can be trained."""
    points = (*experiment.space.baselines(), *experiment.space.corners(CORNERS))
    return [counted(found.plan.cost) for point in points if (found := judge(experiment, point)).plan is not None]
