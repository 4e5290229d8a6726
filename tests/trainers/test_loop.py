import hashlib
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import nn

from trainers.batches import batches
from trainers.data import Data
from trainers.errors import Diverged, TrainerError
from trainers.loop import Progress, parameter_groups, train
from trainers.recipe import Recipe, learning_rate

Build = Callable[..., nn.Module]
ONE_THREAD = Recipe(threads=1)

TRAIN_AND_HASH = """
import hashlib, torch
from torch import nn
from trainers import backbones, data, loop, recipe
backbone = backbones.build("mixer", depth=2, classes=10, image=(8, 8), channels=1, dim=8, patch=4)
backbone.initialise(7)
model = nn.Sequential(backbone.stem, *backbone.blocks, backbone.head)
settings = recipe.Recipe(threads=1)
reports = list(loop.train(model, data.load("digits"), settings, steps=20, seed=7, report_at=[5]))
digest = hashlib.sha256(repr(reports).encode())
for parameter in model.parameters():
    digest.update(parameter.detach().numpy().tobytes())
print(digest.hexdigest())
"""


def run(model: nn.Module, data: Data, recipe: Recipe = ONE_THREAD, *, steps: int = 20, seed: int = 0) -> str:
    """A digest of the whole curve and of the final weights, to the last bit."""
    reports = list(train(model, data, recipe, steps=steps, seed=seed, report_at=[5]))
    digest = hashlib.sha256(repr(reports).encode())
    for parameter in model.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()


def test_a_residual_mixer_learns(residual: Build, digits: Data) -> None:
    model = residual(depth=4, dim=32, patch=2)
    *_, last = train(model, digits, ONE_THREAD, steps=150, seed=0, report_at=[])
    assert last.accuracy > 0.85


def test_it_reports_where_asked_and_at_the_end(residual: Build, digits: Data) -> None:
    reports = list(train(residual(), digits, ONE_THREAD, steps=7, seed=0, report_at=[2, 5]))
    assert [report.step for report in reports] == [2, 5, 7]


def test_the_training_loss_is_the_mean_since_the_last_report(residual: Build, digits: Data) -> None:
    each = list(train(residual(), digits, ONE_THREAD, steps=6, seed=0, report_at=range(1, 7)))
    some = list(train(residual(), digits, ONE_THREAD, steps=6, seed=0, report_at=[2]))
    losses = [report.train_loss for report in each]
    assert [report.train_loss for report in some] == pytest.approx([sum(losses[:2]) / 2, sum(losses[2:]) / 4])


def test_reporting_does_not_change_training(residual: Build, digits: Data) -> None:
    often = list(train(residual(), digits, ONE_THREAD, steps=6, seed=0, report_at=range(1, 7)))
    once = list(train(residual(), digits, ONE_THREAD, steps=6, seed=0, report_at=[]))
    assert (often[-1].accuracy, often[-1].loss) == (once[-1].accuracy, once[-1].loss)


def test_two_runs_are_equal_to_the_last_bit(residual: Build, digits: Data) -> None:
    first = run(residual(seed=3), digits)
    torch.manual_seed(99)
    assert run(residual(seed=3), digits) == first
    assert run(residual(seed=3), digits, seed=1) != first


def test_two_fresh_processes_are_equal_to_the_last_bit() -> None:
    command = [sys.executable, "-c", TRAIN_AND_HASH]
    hashes = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(hashes) == 1
    assert len(hashes.pop().strip()) == 64


def test_all_models_see_the_same_order(residual: Build, digits: Data) -> None:
    def first_batches(model: nn.Module) -> list[torch.Tensor]:
        seen: list[torch.Tensor] = []
        model.register_forward_pre_hook(lambda part, args: seen.append(args[0]) if part.training else None)
        list(train(model, digits, ONE_THREAD, steps=3, seed=4, report_at=[]))
        return seen

    shallow, deep = first_batches(residual(depth=1)), first_batches(residual(depth=5, dim=12))
    assert all(torch.equal(a, b) for a, b in zip(shallow, deep, strict=True))
    assert {len(batch) for batch in shallow} == {64}


def doubled(digits: Data) -> Data:
    """In float64, because Adam turns rounding of a gradient near 0 into a visible step."""
    return replace(
        digits,
        train=replace(digits.train, inputs=digits.train.inputs.double()),
        validation=replace(digits.validation, inputs=digits.validation.inputs.double()),
    )


class Treated(NamedTuple):
    """What AdamW is to do with one parameter."""

    lr_scale: float = 1.0
    eps_scale: float = 1.0
    decays: bool = True


def check_update(trained: nn.Module, expected: nn.Module, digits: Data, treated: dict[str, Treated]) -> None:
    """Four steps of `train` are those of AdamW, clipping and the schedule written out by hand."""
    recipe = Recipe(threads=1, batch=296, weight_decay=0.5, clip=0.1, warmup=0.5)
    digits = doubled(digits)
    list(train(trained, digits, recipe, steps=4, seed=0, report_at=[]))
    # A batch as large as the training part makes the order irrelevant but for rounding.
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in expected.named_parameters()}
    for step in range(1, 5):
        expected.zero_grad()
        nn.functional.cross_entropy(expected(digits.train.inputs), digits.train.labels).backward()
        gradients = [p.grad for p in expected.parameters() if p.grad is not None]
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        with torch.no_grad():
            for name, p in expected.named_parameters():
                lr_scale, eps_scale, decays = treated.get(name, Treated(decays=p.ndim >= 2))
                rate = lr_scale * learning_rate(recipe, step, 4)
                assert p.grad is not None
                gradient = p.grad * min(1.0, 0.1 / norm)
                mean, square = moments[name]
                mean.mul_(0.9).add_(0.1 * gradient)
                square.mul_(0.999).add_(0.001 * gradient**2)
                if decays:
                    p.mul_(1 - rate * 0.5)
                root = (square / (1 - 0.999**step)).sqrt()
                p.sub_(rate * (mean / (1 - 0.9**step)) / (root + eps_scale * 1e-8))
        assert norm > 0.1, "the case must clip"
    for (name, p), q in zip(trained.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-8, msg=name)


def test_the_update_is_that_of_adamw_with_this_schedule(residual: Build, digits: Data) -> None:
    check_update(residual().double(), residual().double(), digits, {})


def test_rates_epsilons_and_decay_are_those_each_parameter_asks_for(residual: Build, digits: Data) -> None:
    treated = {
        "blocks.0.expand.weight": Treated(lr_scale=0.25),
        "blocks.0.expand.bias": Treated(lr_scale=4.0, decays=False),
        # Large enough to outweigh a gradient of at most the clipping norm, 0.1.
        "blocks.0.reduce.weight": Treated(eps_scale=1e6),
        "blocks.1.expand.weight": Treated(lr_scale=2.0, eps_scale=1e7),
        "blocks.1.reduce.weight": Treated(decays=False),
        "head.classify.weight": Treated(lr_scale=0.25, eps_scale=1e7, decays=False),
    }
    trained = residual().double()
    for name, (lr_scale, eps_scale, decays) in treated.items():
        parameter = trained.get_parameter(name)
        parameter.lr_scale, parameter.eps_scale, parameter.no_weight_decay = lr_scale, eps_scale, not decays
    check_update(trained, residual().double(), digits, treated)


def test_the_rates_of_a_backbones_hints_are_what_is_trained_with(residual: Build, digits: Data) -> None:
    hints = {1: {"lr_scale": 0.5}, 2: {"eps_scale": 1e6}}
    treated = {f"blocks.0.{layer}.weight": Treated(lr_scale=0.5) for layer in ("expand", "reduce")}
    treated |= {f"blocks.1.{layer}.weight": Treated(eps_scale=1e6) for layer in ("expand", "reduce")}
    check_update(residual(hints=hints).double(), residual().double(), digits, treated)


def train_plainly(model: nn.Module, data: Data, recipe: Recipe, *, steps: int, seed: int) -> None:
    """The loop over two groups, matrices and the rest, that parameters without attributes are to be trained by."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
    order = batches(len(data.train.labels), recipe.batch, seed)
    for step in range(1, steps + 1):
        chosen = next(order)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, step, steps)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(data.train.inputs[chosen]), data.train.labels[chosen]).backward()
        nn.utils.clip_grad_norm_(matrices + vectors, recipe.clip)
        optimiser.step()


def test_without_attributes_training_is_plain_to_the_last_bit(residual: Build, digits: Data) -> None:
    recipe = Recipe(threads=1, clip=0.01)  # always clips, so that the order of the groups shows in the norm
    trained, plain = residual(depth=3), residual(depth=3)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_plainly(plain, digits, recipe, steps=20, seed=3)
    finally:
        torch.set_num_threads(before)
    list(train(trained, digits, recipe, steps=20, seed=3, report_at=[]))
    for (name, p), q in zip(trained.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(p, q), name


def test_attributes_of_1_train_as_none_do(residual: Build, digits: Data) -> None:
    model = residual()
    for parameter in model.parameters():
        parameter.lr_scale, parameter.eps_scale, parameter.no_weight_decay = 1, 1.0, False
    assert run(model, digits) == run(residual(), digits)


def test_only_matrices_decay(residual: Build) -> None:
    model = residual(depth=2)
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    matrices, vectors = parameter_groups(model, 0.1)
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert all("norm" in name_of[id(p)] or "bias" in name_of[id(p)] for p in vectors["params"])
    assert all("norm" not in name_of[id(p)] and "bias" not in name_of[id(p)] for p in matrices["params"])
    grouped = [id(p) for p in matrices["params"] + vectors["params"]]
    assert sorted([*grouped, id(frozen)]) == sorted(name_of)


def test_groups_are_as_few_as_what_is_asked_for_differs() -> None:
    model = nn.ModuleDict({name: nn.Linear(2, 2) for name in "abcd"})
    model["b"].weight.lr_scale = 0.5
    model["c"].no_weight_decay = True
    model["d"].weight.no_weight_decay = True
    model["d"].bias.eps_scale = 2.0
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        tuple(name_of[id(p)] for p in group["params"]): (group["lr_scale"], group["eps"], group["weight_decay"])
        for group in parameter_groups(model, 0.1)
    }
    assert found == {
        ("a.weight",): (1.0, 1e-8, 0.1),
        ("b.weight",): (0.5, 1e-8, 0.1),
        ("a.bias", "b.bias", "c.weight", "c.bias", "d.weight"): (1.0, 1e-8, 0.0),
        ("d.bias",): (1.0, 2e-8, 0.0),
    }


@pytest.mark.parametrize("attribute", ["lr_scale", "eps_scale"])
@pytest.mark.parametrize("scale", [0, -1.0, math.nan, math.inf, "0.5", None])
def test_a_scale_that_cannot_be_is_refused_before_the_first_step(
    residual: Build, digits: Data, attribute: str, scale: object
) -> None:
    model = residual()
    setattr(model.get_parameter("blocks.1.expand.weight"), attribute, scale)
    message = f"{attribute} of parameter 'blocks.1.expand.weight' must be a positive and finite number, not {scale!r}"
    with pytest.raises(TrainerError, match=re.escape(message)):
        train(model, digits, ONE_THREAD, steps=1, seed=0, report_at=[])


class Nan(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * math.nan


class NanGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return gradient * math.inf


def test_a_block_that_returns_nan_diverges_at_the_first_step_and_keeps_the_weights(digits: Data) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Nan())
    before = model[1].weight.clone()
    with pytest.raises(Diverged) as caught:
        list(train(model, digits, ONE_THREAD, steps=5, seed=0, report_at=[]))
    assert caught.value.step == 1
    assert math.isnan(caught.value.value)
    assert torch.equal(model[1].weight, before)


class Forbids(nn.Module):
    """Rules class 0 out: an infinite loss where it is the label, and finite gradients all the same."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.masked_fill(torch.arange(10) == 0, -math.inf)


def test_an_infinite_loss_diverges_under_finite_gradients(digits: Data) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Forbids())
    with pytest.raises(Diverged) as caught:
        list(train(model, digits, ONE_THREAD, steps=5, seed=0, report_at=[]))
    assert (caught.value.step, caught.value.value) == (1, math.inf)


def test_a_gradient_that_is_not_finite_diverges_under_a_finite_loss(digits: Data) -> None:
    class Bad(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = NanGradient.apply(x)
            return y

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Bad())
    with pytest.raises(Diverged) as caught:
        list(train(model, digits, ONE_THREAD, steps=5, seed=0, report_at=[]))
    assert caught.value.step == 1


def test_a_rate_that_explodes_diverges_at_the_next_step(residual: Build, digits: Data) -> None:
    with pytest.raises(Diverged) as caught:
        list(train(residual(), digits, replace(ONE_THREAD, lr=1e30), steps=50, seed=0, report_at=[]))
    assert caught.value.step == 2


def test_validation_catches_weights_that_explode_at_the_last_step(residual: Build, digits: Data) -> None:
    with pytest.raises(Diverged) as caught:
        list(train(residual(), digits, replace(ONE_THREAD, lr=1e30), steps=1, seed=0, report_at=[]))
    assert caught.value.step == 1


def test_closing_stops_training_and_gives_the_threads_back(residual: Build, digits: Data) -> None:
    before = torch.get_num_threads()
    model = residual()
    running = train(model, digits, Recipe(threads=before + 1), steps=9, seed=0, report_at=[1])
    assert isinstance(next(running), Progress)
    assert torch.get_num_threads() == before + 1
    reached = [parameter.detach().clone() for parameter in model.parameters()]
    running.close()
    assert torch.get_num_threads() == before
    assert list(running) == []
    assert all(torch.equal(a, b) for a, b in zip(reached, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("steps", "report_at", "message"),
    [(0, [], "steps must be at least 1"), (5, [6], "cannot report at step 6"), (5, [0], "from 1 to 5")],
)
def test_bad_arguments_are_refused_before_the_first_step(
    residual: Build, digits: Data, steps: int, report_at: list[int], message: str
) -> None:
    with pytest.raises(TrainerError, match=message):
        train(residual(), digits, ONE_THREAD, steps=steps, seed=0, report_at=report_at)


def test_a_block_that_no_gradient_reaches_is_left_alone(digits: Data) -> None:
    class Pruned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(64, 10), nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.used(x.flatten(1))
            return y

    model = Pruned()
    before = model.unused.weight.clone()
    list(train(model, digits, ONE_THREAD, steps=2, seed=0, report_at=[]))
    assert torch.equal(model.unused.weight, before)
