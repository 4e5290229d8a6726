"""The training loop: a generator that trains, reports at the steps it was asked to, and stops when closed."""

import math
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import nn

from trainers import resume
from trainers.batches import batches
from trainers.data import Data
from trainers.errors import Diverged, NotKept, TrainerError
from trainers.metrics import evaluate
from trainers.recipe import Recipe, learning_rate
from trainers.team import Team

# Adam's epsilon where no parameter asks for another: torch's own default, in the unit of a gradient.
EPS = 1e-8


@dataclass(frozen=True)
class Progress:
    """One report: training loss (mean since the last report), validation accuracy and loss, in nats."""

    step: int
    train_loss: float
    accuracy: float
    loss: float


class Group(TypedDict):
    """Parameters that AdamW treats alike; the schedule's rate is multiplied by `lr_scale` at each step."""

    params: list[nn.Parameter]
    lr_scale: float
    eps: float
    weight_decay: float


def train(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    *,
    steps: int,
    seed: int,
    report_at: Collection[int],
    keep: resume.Keeper | None = None,
    team: Team | None = None,
) -> Generator[Progress, None, None]:
    """Train in place with AdamW, yielding a Progress at each step in `report_at` and at the last.

    Steps count from 1. The order of samples depends on the seed alone; the initial weights are the model's, and
    what its parameters ask for is read at once, see `parameter_groups`. Same seed, machine and number of threads:
    bit-equal weights and reports. `recipe.threads` holds for the whole process until the generator ends. Raises
    TrainerError at once on bad arguments, and Diverged while running, at the first loss or gradient norm that is
    not finite, before that step changes the weights.

    With `keep` the state is written to its file when that says so, after the report of such a step was taken, and
    where that file is there when training begins, it goes on from there, as if it had never stopped: reports up to
    that step are not repeated. Raises CheckpointError then where the file is damaged or of another training, and
    NotKept where it cannot be written.

    With `team` each of its processes trains on its part of every batch, to the weights of a single process up to the
    rounding of sums; `recipe.batch` must be divisible by them. The leader alone yields and keeps: the generators of the
    others are empty, and end when its does. Raises TeamError where one of the others has gone.
    """
    if steps < 1:
        raise TrainerError(f"steps must be at least 1, not {steps}")
    outside = sorted(step for step in report_at if not 1 <= step <= steps)
    if outside:
        raise TrainerError(f"cannot report at step {outside[0]}: steps go from 1 to {steps}")
    if team is not None and recipe.batch % team.size:
        raise TrainerError(f"a batch of {recipe.batch} cannot be divided among {team.size} workers")
    groups = parameter_groups(model, recipe.weight_decay)
    reports = frozenset(report_at) | {steps}
    return _run(groups, model, data, recipe, steps=steps, seed=seed, reports=reports, keep=keep, team=team)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[Group]:
    """The trainable parameters by how they are trained: first those that decay, then those that do not.

    A parameter may carry plain attributes: `lr_scale` multiplies its learning rate (and with it what decays in a
    step, rate times decay), `eps_scale` Adam's epsilon, both 1 where absent; `no_weight_decay` exempts it from
    decay, as one on a module exempts all that the module holds. What has fewer than two axes never decays.
    Raises TrainerError on a scale that is not positive and finite.
    """
    exempt = {
        id(parameter)
        for module in model.modules()
        if getattr(module, "no_weight_decay", False)
        for parameter in module.parameters()
    }
    alike: dict[tuple[bool, float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            spared = id(parameter) in exempt or getattr(parameter, "no_weight_decay", False)
            decays = parameter.ndim >= 2 and not spared
            scales = _scale(name, parameter, "lr_scale"), _scale(name, parameter, "eps_scale")
            alike.setdefault((decays, *scales), []).append(parameter)
    return [
        Group(params=params, lr_scale=lr_scale, eps=eps_scale * EPS, weight_decay=weight_decay if decays else 0.0)
        for (decays, lr_scale, eps_scale), params in sorted(alike.items(), key=lambda item: not item[0][0])
    ]


def _scale(name: str, parameter: nn.Parameter, attribute: str) -> float:
    scale: object = getattr(parameter, attribute, 1.0)
    if not isinstance(scale, int | float) or not 0 < scale < math.inf:
        raise TrainerError(f"{attribute} of parameter {name!r} must be a positive and finite number, not {scale!r}")
    return float(scale)


def _run(
    groups: list[Group],
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    *,
    steps: int,
    seed: int,
    reports: frozenset[int],
    keep: resume.Keeper | None,
    team: Team | None,
) -> Generator[Progress, None, None]:
    optimiser = torch.optim.AdamW([dict(group) for group in groups], lr=recipe.lr, fused=True)
    parameters = [parameter for group in groups for parameter in group["params"]]
    device = parameters[0].device
    inputs, labels = data.train.inputs.to(device), data.train.labels.to(device)
    own = resume.identity(model, data, recipe, steps=steps, seed=seed)

    def save(keep: resume.Keeper, step: int) -> None:
        notes = {**keep.notes(), **own}
        try:
            resume.write(keep.path, model, optimiser, losses, step, notes)
        except OSError as error:
            raise NotKept(f"{keep.path}: the training's state cannot be written: {error.strerror or error}") from error
        keep.saved()

    done, losses = 0, list[float]()
    if keep is not None and keep.path.exists():
        done, losses = resume.read(keep.path, model, optimiser, own)
    if team is not None:
        done = team.begin(model, optimiser, own, done, seed)
    forward = model if team is None else team.forward
    order = batches(len(labels), recipe.batch, seed, start=done)
    model.train()
    with using_threads(recipe.threads):
        for step in range(done + 1, steps + 1):
            chosen = next(order)
            chosen = (chosen if team is None else team.part(chosen)).to(device)
            for group in optimiser.param_groups:
                group["lr"] = group["lr_scale"] * learning_rate(recipe, step, steps)
            optimiser.zero_grad()
            # Of text each sample has a label a byte, kept in a byte.
            logits = forward(inputs[chosen])
            loss = nn.functional.cross_entropy(logits.flatten(0, -2), labels[chosen].long().flatten())
            if team is None:
                loss.backward()  # type: ignore[no-untyped-call]
            else:
                loss = team.backward(loss)
            norm = nn.utils.clip_grad_norm_(parameters, recipe.clip)
            # One transfer for both numbers, and before the weights are touched.
            train_loss, norm_value = torch.stack((loss.detach(), norm)).tolist()
            _check_finite(step, train_loss)
            _check_finite(step, norm_value)
            optimiser.step()
            losses.append(train_loss)
            if step in reports and team is not None and not team.leads:
                if not team.heed():
                    return
            elif step in reports:
                with _telling(team):
                    accuracy, validation_loss = evaluate(model, data.validation)
                    _check_finite(step, validation_loss)
                    report = Progress(step, math.fsum(losses) / len(losses), accuracy, validation_loss)
                    losses.clear()
                    try:
                        yield report
                    except GeneratorExit:
                        if keep is not None and keep.closing:
                            save(keep, step)
                        raise
            if keep is not None and keep.due(step):
                save(keep, step)


@contextmanager
def _telling(team: Team | None) -> Iterator[None]:
    """Whether the training goes on behind the block is what the others of the team are told."""
    try:
        yield
    except BaseException:
        if team is not None:
            team.tell(False)
        raise
    if team is not None:
        team.tell(True)


def _check_finite(step: int, value: float) -> None:
    if not math.isfinite(value):
        raise Diverged(step, value)


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Torch with so many CPU threads, in the whole process, until the block ends; None leaves them alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
