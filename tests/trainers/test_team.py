"""Several processes on one model. The others are told what to do by a small script."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import nn

from trainers.data import Data
from trainers.errors import Diverged, TeamError, TrainerError
from trainers.loop import Progress, train
from trainers.recipe import Recipe
from trainers.resume import Keep
from trainers.team import lead

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RECIPE = Recipe(batch=32, lr=4e-3, threads=1)
STEPS, REPORTS = 12, (4, 8)
REST = Recipe(batch=32, lr=1e9, clip=1e9, threads=1)  # of no use: it diverges within some steps

# The model of every process; part of it is unused, in all of them or in the leader alone. Its last parameter fills
# DistributedDataParallel's first bucket, which is on its way when the gradients reach the stem and meet what is `met`
# there in the given step.
MODEL = """
import os, sys
from itertools import chain
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from trainers import backbones, data
from trainers.errors import Diverged, TeamError, TrainerError
from trainers.loop import train
from trainers.recipe import Recipe
from trainers.team import join

def end(gradient):
    os._exit(9)

def fail(gradient):
    raise RuntimeError("the model's own")

def exhaust(gradient):
    raise torch.OutOfMemoryError("all of it")

class Model(nn.Module):
    def __init__(self, others=True, form="plain", met=None, step=6, counts=False):
        super().__init__()
        made = backbones.build("mixer", depth=2, classes=10, image=(8, 8), channels=1, dim=8, patch=4)
        made.initialise(3)
        self.stem, self.blocks, self.head = made.stem, nn.ModuleList(made.blocks), made.head
        self.unused = nn.Parameter(torch.ones(3))
        self.frozen = nn.Parameter(torch.ones(()), requires_grad=False)
        self.register_buffer("kept", torch.ones(()))
        self.register_buffer("count", torch.zeros(()))
        self.others = nn.Parameter(torch.ones(()))
        self.wide = nn.Parameter(torch.zeros(2**17))
        self.use, self.form, self.met, self.step, self.steps = others, form, met, step, 0
        self.counts = counts
        self.double()  # the gradient of a bias before a norm is rounding alone, which AdamW blows up to a step

    def forward(self, x):
        x = self.stem(x.double())
        self.steps += self.training
        self.count += self.training and self.counts
        if self.met and self.training and self.steps == self.step:
            x.register_hook(globals()[self.met])
        for block in self.blocks:
            x = x + self.called(block, x)
        return self.head(x) * self.kept * self.frozen * (1 + self.wide.mean()) * (self.others if self.use else 1.0)

    def called(self, block, x):
        if self.form in ("recomputed", "reentrant"):
            return checkpoint(block, x, use_reentrant=self.form == "reentrant")
        if self.form == "inner" and self.training:  # a backward pass within the forward pass
            opened = x.detach().requires_grad_()
            return block(x) + torch.autograd.grad(block(opened).square().sum(), opened)[0]
        return block(x)

def own(model):
    return sum(each.sum().item() for each in model.state_dict().values())
"""
OTHER = (
    MODEL
    + """
port, rank, size, seed, recipe, kill, options = eval(sys.argv[1])
model = Model(**options)
with torch.no_grad():
    for each in chain(model.parameters(), model.buffers()):
        each.add_(rank)  # whatever it starts from, the leader's weights are everybody's
try:
    with join("127.0.0.1", port, rank, size, "cpu") as team:
        backward = team.backward
        calls = []
        def counted(loss):
            calls.append(1)
            if len(calls) == kill:
                os._exit(9)
            return backward(loss)
        team.backward = counted
        made = train(model, data.load("digits"), Recipe(**recipe), steps=12, seed=seed, report_at=(4, 8), team=team)
        assert list(made) == [], "the leader alone reports"
    print(len(calls), own(model))
except (Diverged, TeamError, TrainerError) as error:
    print(type(error).__name__, error)
except RuntimeError as error:
    print(type(error).__name__, error, flush=True)
    sys.stdin.read()  # while the error, and all that its traceback holds, is there
"""
)
FOUND: dict[str, Callable] = {}
exec(MODEL, FOUND)
build, own = FOUND["Model"], FOUND["own"]


@pytest.fixture(autouse=True)
def finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for ever for one that could not begin: on Ray that is watched from outside."""
    monkeypatch.setattr("trainers.team.WAIT", timedelta(seconds=120))


@contextmanager
def team(size: int = 2, *, recipe: Recipe = RECIPE, seed: int = 5, kill: int = 0, **options: object) -> Iterator[tuple]:
    """A team that this process leads, and what the others have said in the end, behind the block."""
    running: list[subprocess.Popen] = []
    said: list[str] = []

    def start(port: int) -> None:
        for rank in range(1, size):
            settings = {name: getattr(recipe, name) for name in ("batch", "lr", "clip", "threads")}
            given = repr((port, rank, size, seed, settings, kill if rank == 1 else 0, options if rank == 1 else {}))
            command = [sys.executable, "-c", OTHER, given]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            running.append(subprocess.Popen(command, cwd=ROOT, text=True, **pipes))

    try:
        try:
            with lead(size, "cpu", start) as made:
                yield made, said
        finally:
            said += [one.communicate(timeout=100)[0].strip() for one in running]
    finally:
        for one in running:
            one.kill()
            one.stdin.close()
            one.stdout.close()
            one.wait()


def run(
    model: nn.Module, data: Data, *, recipe: Recipe = RECIPE, stop: int = 0, seed: int = 5, **more
) -> list[Progress]:
    found = []
    training = train(model, data, recipe, steps=STEPS, seed=seed, report_at=REPORTS, **more)
    for point in training:
        found.append(point)
        if point.step == stop:
            training.close()
    return found


def same(one: list[Progress], other: list[Progress]) -> None:
    assert [point.step for point in one] == [point.step for point in other]
    for mine, theirs in zip(one, other, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-9)
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-9)


def close(one: nn.Module, other: nn.Module) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for (name, mine), theirs in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture(scope="module")
def whole(digits: Data) -> tuple[nn.Module, list[Progress]]:
    """What a single process makes of it."""
    model = build()
    return model, run(model, digits)


@pytest.mark.parametrize("size", [2, 4])
def test_several_train_to_what_one_does(digits: Data, whole: tuple, size: int) -> None:
    model = build()
    with team(size) as (made, said):
        reports = run(model, digits, team=made)
    same(reports, whole[1])
    close(model, whole[0])
    assert said == [f"12 {own(model)!r}"] * (size - 1), "all have the same weights to the last bit"


@pytest.mark.parametrize("form", ["recomputed", "inner"])
def test_passes_within_passes(digits: Data, form: str) -> None:
    """Blocks that are run again in the backward pass, and blocks that run one in the forward pass."""
    alone, model = build(form=form), build(form=form)
    reports = run(alone, digits)
    with team(form=form) as (made, said):
        same(run(model, digits, team=made), reports)
    assert said == [f"12 {own(model)!r}"]
    close(model, alone)


def test_a_backward_pass_within_the_backward_pass_is_refused(digits: Data) -> None:
    with pytest.raises(TrainerError, match="use_reentrant=False"), team(form="reentrant") as (made, said):
        run(build(form="reentrant"), digits, team=made)
    assert said[0].startswith("TrainerError ")


def test_the_model_is_as_it_was_when_the_team_is_gone(digits: Data) -> None:
    model = build()
    with team() as (made, _):
        run(model, digits, team=made)
    alone = build()
    alone.load_state_dict(model.state_dict())
    for each in (model, alone, deepcopy(model)):
        each.zero_grad()
        each(digits.train.inputs[:8]).logsumexp(1).sum().backward()
    for mine, theirs in zip(model.parameters(), alone.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        assert mine.grad is None or torch.equal(mine.grad, theirs.grad)


def test_a_parameter_that_not_all_use_holds_nobody_up(digits: Data) -> None:
    """The leader does not use one, the other does, and one is used by nobody and stays as it was, without decay."""
    model = build(others=False)
    with team() as (made, said):
        run(model, digits, team=made)
    assert said == [f"12 {own(model)!r}"]
    assert torch.equal(model.unused, torch.ones(3, dtype=torch.float64))
    assert model.unused.grad is None
    assert model.others.grad is not None


def test_buffers_begin_as_the_leaders_and_are_each_ones_own(digits: Data) -> None:
    model = build()
    with team(counts=True) as (made, said):
        run(model, digits, team=made)
    assert float(said[0].removeprefix("12 ")) == pytest.approx(own(model) + 12, abs=1e-9)


def test_a_stopped_training_goes_on_from_its_checkpoint(digits: Data, whole: tuple, tmp_path: Path) -> None:
    keep = Keep(tmp_path / "state.safetensors", every=100, closing=True)
    with team() as (made, said):
        first = run(build(), digits, team=made, keep=keep, stop=4)
    assert said[0].startswith("4 "), "the others end where the leader does"
    model = build()
    with team() as (made, said):
        second = run(model, digits, team=made, keep=keep)
    assert said == [f"8 {own(model)!r}"]
    same(first + second, whole[1])
    close(model, whole[0])
    alone = build()
    keep.path.unlink()
    run(build(), digits, keep=keep, stop=4)
    with team() as (made, _):
        run(alone, digits, team=made, keep=keep)
    close(alone, whole[0])


@pytest.mark.parametrize("dying", [{"kill": 6}, {"met": "end"}], ids=["between passes", "within the backward pass"])
def test_one_that_dies_ends_the_training_of_all(digits: Data, dying: dict) -> None:
    """Those that wait for each other and not for the dead one are ended by whoever started them."""
    with (
        pytest.raises(TeamError, match="another worker of this trial has gone") as caught,
        team(**dying) as (made, said),
    ):
        run(build(), digits, team=made)
    assert said == [""]
    assert "Timed out" not in str(caught.value)


@pytest.mark.parametrize(
    ("met", "kind", "text"),
    [("fail", RuntimeError, "the model's own"), ("exhaust", torch.OutOfMemoryError, "all of it")],
)
def test_what_the_model_fails_of_is_not_the_others(digits: Data, met: str, kind: type, text: str) -> None:
    """Nor do those wait for it, though it is in the middle of sending gradients and its error is held."""
    with pytest.raises(kind, match=text) as caught, team() as (made, said):
        run(build(met=met), digits, team=made)
    assert caught.type is kind
    assert said[0].startswith("TeamError another worker of this trial has gone: ")
    assert "Timed out" not in said[0]


def test_want_of_memory_at_the_start_is_not_the_others(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*given: object, **more: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr("trainers.team.DistributedDataParallel", exhausted)
    with pytest.raises(RuntimeError, match="can't allocate memory") as caught, team(size=1) as (made, _):
        run(build(), digits, team=made)
    assert caught.type is RuntimeError


def test_what_another_one_fails_of_ends_the_training(digits: Data) -> None:
    with (
        pytest.raises(TeamError, match="another worker of this trial has gone") as caught,
        team(met="fail") as (made, said),
    ):
        run(build(), digits, team=made)
    assert said == ["RuntimeError the model's own"]
    assert "Timed out" not in str(caught.value)


def test_all_diverge_at_one_step(digits: Data) -> None:
    with pytest.raises(Diverged) as caught, team(recipe=REST) as (made, said):
        run(build(), digits, recipe=REST, team=made)
    assert said == [f"Diverged {caught.value}"]


def test_other_data_or_settings_are_refused(digits: Data) -> None:
    with pytest.raises(TeamError), team(seed=6) as (made, said):
        run(build(), digits, team=made)
    assert said == ["TrainerError seed is 6 on worker 1 of a trial and 5 on its first"]


def test_a_batch_that_cannot_be_divided_is_refused(digits: Data) -> None:
    class Three:
        size = 3

    with pytest.raises(TrainerError, match="a batch of 32 cannot be divided among 3 workers"):
        run(build(), digits, team=Three())
