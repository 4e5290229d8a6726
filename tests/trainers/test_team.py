"""Several processes on one model. The others are told what to do by a small script."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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

# The model of every process; part of it is unused, in all of them or in the leader alone.
MODEL = """
import os, sys
import torch
from torch import nn
from trainers import backbones, data
from trainers.errors import Diverged, TeamError, TrainerError
from trainers.loop import train
from trainers.recipe import Recipe
from trainers.team import join

class Model(nn.Module):
    def __init__(self, others):
        super().__init__()
        made = backbones.build("mixer", depth=2, classes=10, image=(8, 8), channels=1, dim=8, patch=4)
        made.initialise(3)
        self.stem, self.blocks, self.head = made.stem, nn.ModuleList(made.blocks), made.head
        self.unused = nn.Parameter(torch.ones(3))
        self.others = nn.Parameter(torch.ones(()))
        self.use = others
        self.double()  # the gradient of a bias before a norm is rounding alone, which AdamW blows up to a step

    def forward(self, x):
        x = self.stem(x.double())
        for block in self.blocks:
            x = x + block(x)
        return self.head(x) * (self.others if self.use else 1.0)

def first(model):
    return next(model.head.parameters())
"""
OTHER = (
    MODEL
    + """
port, rank, size, seed, recipe, kill = eval(sys.argv[1])
model = Model(others=True)
with torch.no_grad():
    first(model).add_(rank)  # whatever it starts from, the leader's weights are everybody's
try:
    with join("127.0.0.1", port, rank, size, "cpu") as team:
        average = team.average
        calls = []
        def counted(parameters, loss):
            calls.append(1)
            if len(calls) == kill:
                os._exit(9)
            return average(parameters, loss)
        team.average = counted
        made = train(model, data.load("digits"), Recipe(**recipe), steps=12, seed=seed, report_at=(4, 8), team=team)
        assert list(made) == [], "the leader alone reports"
    print(len(calls), first(model).sum().item())
except (Diverged, TeamError, TrainerError) as error:
    print(type(error).__name__, error)
"""
)


def build(others: bool = True) -> nn.Module:
    found: dict[str, type[nn.Module]] = {}
    exec(MODEL, found)
    return found["Model"](others)


def own(model: nn.Module) -> float:
    return next(model.head.parameters()).sum().item()


@pytest.fixture(autouse=True)
def finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for ever for one that could not begin: on Ray that is watched from outside."""
    monkeypatch.setattr("trainers.team.WAIT", timedelta(seconds=120))


@contextmanager
def team(size: int = 2, *, recipe: Recipe = RECIPE, seed: int = 5, kill: int = 0) -> Iterator[tuple]:
    """A team that this process leads, and what the others have said in the end, behind the block."""
    running: list[subprocess.Popen] = []
    said: list[str] = []

    def start(port: int) -> None:
        for rank in range(1, size):
            settings = {name: getattr(recipe, name) for name in ("batch", "lr", "clip", "threads")}
            given = repr((port, rank, size, seed, settings, kill if rank == 1 else 0))
            command = [sys.executable, "-c", OTHER, given]
            running.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))

    try:
        try:
            with lead(size, "cpu", start) as made:
                yield made, said
        finally:
            said += [one.communicate(timeout=100)[0].strip() for one in running]
    finally:
        for one in running:
            one.kill()
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


def test_a_parameter_that_not_all_use_holds_nobody_up(digits: Data) -> None:
    """The leader does not use one, the other does, and one is used by nobody and stays as it was, without decay."""
    model = build(others=False)
    with team() as (made, said):
        run(model, digits, team=made)
    assert said == [f"12 {own(model)!r}"]
    assert torch.equal(model.unused, torch.ones(3, dtype=torch.float64))
    assert model.unused.grad is None
    assert model.others.grad is not None


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


def test_one_that_dies_ends_the_training_of_all(digits: Data) -> None:
    """Those that wait for each other and not for the dead one are ended by whoever started them."""
    with pytest.raises(TeamError, match="another worker of this trial has gone"), team(kill=6) as (made, said):
        run(build(), digits, team=made)
    assert said == [""]


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
