"""An experiment file as one frozen value: everything the user decides, checked before anything runs."""

import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import pydantic
from pydantic import ConfigDict, Field, field_serializer, field_validator, model_validator

from nas.metrics import RATIO as RATIO
from nas.metrics import RATIO_FLOOR as RATIO_FLOOR
from nas.metrics import Limited as Limited
from nas.metrics import Metric as Metric
from nas.metrics import Objective as Objective
from nas.objectives import AUC_LOW
from nas.options import Gates, Latency, Open
from nas.report_settings import Report
from nas.resources import Resources
from nas.samplers.fit import unfit
from nas.storage import located
from search_space.document import Document, read
from search_space.errors import Key
from search_space.schema import Strict, build, one_of, parse, wrong
from search_space.space import Space
from trainers import catalogue, functions, shapes
from trainers.errors import TrainerError

# Beyond these a number is a slip of the pen, and arithmetic, memory or the operating system would give out later.
MOST_TRIALS = 1_000_000
MOST_GFLOPS = 1e15
MOST_SAMPLES = 65_536
MOST_WIDTH = 1_000_000
MOST_THREADS = 1024
MOST_CONTEXT = 65_536

BACKBONE_EXAMPLES: Mapping[str, object] = {"patch": 2, "function": "mine:backbone"}


class Data(Strict):
    """A dataset of ``trainers.catalogue``; paths and functions were made absolute by :meth:`Experiment.load`."""

    kind: Annotated[str, one_of("data kind", catalogue.OPTIONS)] = Field(examples=["digits"])
    path: str | None = None
    function: str | None = None
    context: int | None = Field(default=None, ge=1, le=MOST_CONTEXT)

    @model_validator(mode="after")
    def _options(self) -> Self:
        problem = catalogue.misuse(self.kind, self.model_dump(exclude={"kind"}))
        if problem is not None:
            raise wrong(problem[1], at=(problem[0],))
        return self

    @property
    def source(self) -> str | catalogue.Source:
        """The same as a value that travels to workers: the kind alone where it has no options."""
        return _source(self)


@lru_cache(maxsize=16)
def _source(data: Data) -> str | catalogue.Source:
    options = data.model_dump(exclude={"kind"}, exclude_none=True)
    return catalogue.Source(data.kind, **options) if options else data.kind


class Backbone(Strict):
    """A backbone of ``trainers.backbones``; each kind takes the options that its shape in ``trainers.shapes`` has."""

    kind: Annotated[str, one_of("backbone kind", shapes.SHAPES)] = Field(examples=["mixer"])
    dim: int = Field(ge=1, le=MOST_WIDTH, examples=[48])
    patch: int | None = Field(default=None, ge=1, le=MOST_WIDTH)
    token_hidden: int | None = Field(default=None, ge=1, le=MOST_WIDTH)
    channel_hidden: int | None = Field(default=None, ge=1, le=MOST_WIDTH)
    heads: int | None = Field(default=None, ge=1, le=MOST_WIDTH)
    hidden: int | None = Field(default=None, ge=1, le=MOST_WIDTH)
    function: str | None = None

    @model_validator(mode="after")
    def _options(self) -> Self:
        takes = {field.name: field.default is MISSING for field in fields(shapes.SHAPES[self.kind])}
        for name, value in self:
            if value is not None and name != "kind" and name not in takes:
                raise wrong(f"has no meaning for a backbone of kind {self.kind!r}", at=(name,))
            if value is None and takes.get(name):
                raise wrong(f"missing; add it, for example '{name}: {BACKBONE_EXAMPLES[name]}'", at=(name,))
        return self


class Train(Strict):
    """How each trial is trained. ``budget_gflops`` are training GFLOPs, ``warmup`` is a fraction of the steps."""

    budget_gflops: float = Field(gt=0, le=MOST_GFLOPS, examples=[300])
    batch: int = Field(ge=1, le=MOST_SAMPLES, examples=[64])
    lr: float = Field(gt=0, examples=["2.0e-3"])
    warmup: float = Field(ge=0, lt=1, examples=[0.1])
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    threads: int | None = Field(default=None, ge=1, le=MOST_THREADS)


class Halving(Strict):
    """Early stopping: after each rung the better ``keep`` share goes on.

    ``stopping`` decides when a trial comes to a rung, ``promotion`` leaves every trial at its first rung until it is
    among the best there. The first ``audit`` trials that are no baselines are trained in full all the same.
    """

    form: Literal["stopping", "promotion"] = "stopping"
    rungs: int = Field(default=3, ge=2, le=6)
    keep: float = Field(default=0.34, gt=0, lt=1)
    audit: int = Field(default=0, ge=0, le=MOST_TRIALS)


class Search(Strict):
    """How points are proposed; without ``halving`` every trial gets its full budget.

    ``population`` is that of nsga2 and evolution, ``tournament`` how many of it evolution draws a parent from. A trial
    whose worker dies is run again up to ``retries`` times. A trial under way writes a checkpoint every
    ``checkpoint_seconds`` seconds, from which it goes on after a crash. ``open`` lets other programs propose,
    ``gates`` a super-network. ``warm_start`` are folders of earlier runs, whose best ``rerun`` are trained again here.
    """

    sampler: Literal["tpe", "random", "nsga2", "stratified", "exhaustive", "local", "evolution"] = "tpe"
    population: int = Field(default=20, ge=2, le=10_000)
    tournament: int = Field(default=5, ge=1, le=10_000)
    halving: Halving | None = None
    baselines: bool = True
    random_share: float = Field(default=0.15, ge=0, le=1)
    warm_start: Annotated[tuple[str, ...], pydantic.Strict(False)] = ()
    rerun: int = Field(default=0, ge=0, le=MOST_TRIALS)
    gates: Gates | None = None
    open: Open | None = None
    retries: int = Field(default=3, ge=0, le=100)
    checkpoint_seconds: float = Field(default=60.0, ge=0)


class Confirm(Strict):
    """Training the front and the residual network again on fresh seeds.

    ``seeds: auto`` takes as many as show a true ``difference`` in 80 % of cases. At most ``front`` members of the front
    are confirmed. ``curve`` is on how many of the seeds the residual network is trained at other budgets as well.
    """

    seeds: int | Literal["auto"] = 5
    difference: float = Field(default=0.01, gt=0)
    front: int = Field(default=8, ge=1, le=100)
    curve: int = Field(default=1, ge=0, le=20)

    @field_validator("seeds", mode="plain")
    @classmethod
    def _seeds(cls, value: object) -> object:
        if value == "auto":
            return value
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong(f"{value!r} is no number of seeds; write one from 1 to 20, or auto")
        if not 1 <= value <= 20:
            raise wrong(f"{value} is out of range; must be at {'least 1' if value < 1 else 'most 20'}")
        return value


class Experiment(Strict):
    """The whole file. ``limits`` bound a model's cost; ``confirm`` is None where no confirmation is asked.

    ``storage`` is where the run is mirrored while it goes on, a folder or an fsspec URI; None where it is not.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str = Field(examples=["digits"])
    seed: int = Field(ge=0, lt=2**32, examples=[0])
    trials: int = Field(ge=1, le=MOST_TRIALS, examples=[24])
    data: Data = Field(examples=["{kind: digits}"])
    backbone: Backbone = Field(examples=["{kind: mixer, dim: 48, patch: 2}"])
    space: Space = Field(examples=["{depth: 8, families: {residual: {}}}"])
    objectives: Annotated[tuple[Objective, ...], pydantic.Strict(False)] = Field(
        min_length=1, examples=["[{metric: accuracy, goal: maximize}]"]
    )
    limits: Mapping[Limited, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    train: Train = Field(examples=["{budget_gflops: 300, batch: 64, lr: 2.0e-3, warmup: 0.1}"])
    search: Search = Search()
    confirm: Confirm | None = None
    latency: Latency = Latency()
    resources: Resources = Resources()
    report: Report = Report()
    storage: str | None = Field(default=None, min_length=1)

    @classmethod
    def load(cls, path: str | PathLike[str], *, read_data: bool = True) -> Self:
        """Read a file; SpaceError with file, line and key path for the first thing that is wrong.

        A user's data are read, or the function that gives them called, to see whether they can be trained on;
        ``read_data=False`` leaves that to those who train.
        """
        document = read(path)
        here = _absolute(document)
        space = Space.parse(document, sublayers=_sublayers(document)) if "space" in document.data else None
        given = here if space is None else here | {"space": space}
        experiment = parse(cls, document, given=given)
        if read_data:
            problem = experiment._misfit()
            if problem is not None:
                raise document.error(*problem)
        return experiment

    def resolved(self) -> dict[str, Any]:
        """Plain data with every default filled in; as YAML it loads to an equal experiment."""
        return self.model_dump(mode="json", exclude_none=True)

    def replace(self, **changes: Any) -> Self:
        """The same experiment with other values, such as ``trials`` or ``seed``; UserError if they are not valid."""
        return build(type(self), dict(self) | changes)

    @field_serializer("space")
    def _plain_space(self, space: Space) -> dict[str, Any]:
        return space.to_dict()

    @field_validator("name")
    @classmethod
    def _folder_name(cls, name: str) -> str:
        # It becomes a folder's name: no separators, nothing hidden, nothing that reads as an option.
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
            raise wrong(
                f"{name!r} cannot name a folder; write at most 100 letters (a-z, A-Z), digits, '-', '_' or '.', "
                "not starting with '-' or '.'"
            )
        return name

    @field_validator("objectives")
    @classmethod
    def _distinct(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        metrics = [objective.metric for objective in objectives]
        for index, metric in enumerate(metrics):
            if metric in metrics[:index]:
                raise wrong(f"{metric!r} is listed twice; keep one of them", at=(index, "metric"))
        return objectives

    @model_validator(mode="after")
    def _reference_is_of_objectives(self) -> Self:
        self.report.check([one.metric for one in self.objectives], ("seconds", "compute_to_target", *get_args(Limited)))
        return self

    @model_validator(mode="after")
    def _sampler_fits_space(self) -> Self:
        problem = unfit(self.search.sampler, self.space)
        if problem is not None:
            raise wrong(problem, at=("search", "sampler"))
        return self

    @model_validator(mode="after")
    def _rerun_of_something(self) -> Self:
        if self.search.rerun and not self.search.warm_start:
            problem = "there is nothing to run again; add 'warm_start: [runs/earlier]', or leave it out"
            raise wrong(problem, at=("search", "rerun"))
        return self

    @model_validator(mode="after")
    def _gates_fit_space(self) -> Self:
        depth = None if self.search.gates is None else self.search.gates.depth
        if depth is not None and depth not in (self.space.depth.every() or ()):
            raise wrong(
                f"{depth} is no depth of this space, which has {self.space.depth}", at=("search", "gates", "depth")
            )
        return self

    @model_validator(mode="after")
    def _areas_lie_in_the_budget(self) -> Self:
        budget = self.train.budget_gflops
        for index, one in enumerate(self.objectives):
            high = budget if one.high_gflops is None else one.high_gflops
            low = AUC_LOW * budget if one.low_gflops is None else one.low_gflops
            if high > budget:
                problem = f"{high:g} is beyond train.budget_gflops, {budget:g}; a curve is not extrapolated"
                raise wrong(problem, at=("objectives", index, "high_gflops"))
            if low >= high:
                name = "high_gflops" if one.low_gflops is None else "low_gflops"
                raise wrong(f"the area must begin ({low:g}) below its end ({high:g})", at=("objectives", index, name))
        return self

    @model_validator(mode="after")
    def _batch_can_be_divided(self) -> Self:
        batch, workers = self.train.batch, self.resources.processes
        if batch % workers:
            near = max(batch // workers, 1) * workers
            problem = f"{workers} workers cannot have equal parts of a batch of {batch}; set train.batch to {near}, or"
            at = ("resources", "gpu" if self.resources.workers is None else "workers")
            raise wrong(f"{problem} take a number that divides it", at=at)
        return self

    @model_validator(mode="after")
    def _backbone_fits_data(self) -> Self:
        problem = self._misfit() if catalogue.is_known(self.data.kind) else None
        if problem is not None:
            raise wrong(problem[1], at=problem[0])
        return self

    def _misfit(self) -> tuple[Key, str] | None:
        """Where and why the data cannot be trained on, or not by the backbone; None where all is well."""
        try:
            facts = catalogue.describe(self.data.source)
        except TrainerError as error:
            at = next(name for name in ("path", "function", "kind") if getattr(self.data, name) is not None)
            return ("data", at), str(error)
        sizes = self.backbone.model_dump(exclude={"kind"}, exclude_none=True)
        try:
            shapes.parse(self.backbone.kind, {"depth": 1} | dict(facts) | sizes)
        except TrainerError as error:
            return ("backbone",), str(error)
        return None


def _absolute(document: Document) -> dict[str, object]:
    """The sections that name files or functions, by their full paths: in a file these are relative to its folder."""
    folder = document.path.absolute().parent
    found: dict[str, object] = {}
    for name in ("data", "backbone"):
        section = document.data.get(name)
        if isinstance(section, dict):
            path, function = section.get("path"), section.get("function")
            found[name] = section | ({"path": _joined(folder, path)} if isinstance(path, str) else {})
            if isinstance(function, str):
                found[name] = section | {"function": functions.locate(function, folder)}
    storage = document.data.get("storage")
    if isinstance(storage, str) and storage:
        found["storage"] = located(storage, folder)
    search = document.data.get("search")
    earlier = search.get("warm_start") if isinstance(search, dict) else None
    if isinstance(search, dict) and isinstance(earlier, list) and all(isinstance(path, str) for path in earlier):
        found["search"] = search | {"warm_start": [_joined(folder, path) for path in earlier]}
    return found


def _joined(folder: Path, path: str) -> str:
    return os.path.normpath(folder / path)


def _sublayers(document: Document) -> int:
    """How many blocks of the document's backbone make one of the papers'; 1 where what it says is refused later."""
    backbone = document.data.get("backbone")
    kind = backbone.get("kind") if isinstance(backbone, dict) else None
    return shapes.sublayers(kind) if isinstance(kind, str) and kind in shapes.SHAPES else 1
