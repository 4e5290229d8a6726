import hashlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trainers import checkpoint
from trainers.batches import batches
from trainers.catalogue import Source
from trainers.data import Data, load
from trainers.errors import CheckpointError, TrainerError
from trainers.loop import Progress, train
from trainers.recipe import Recipe
from trainers.resume import Keep

Build = Callable[..., nn.Module]
RECIPE = Recipe(batch=32, threads=1)


class Noisy(nn.Module):
    """Uses the global generator while it trains, as random depth does, and keeps a buffer."""

    seen: torch.Tensor

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen += 1
            x = nn.functional.dropout(x, 0.2)
        logits: torch.Tensor = self.inner(x)
        return logits


@pytest.fixture
def model(residual: Build) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return Noisy(residual(depth=2, seed=3))

    return build


def bits(model: nn.Module) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


def run(
    model: nn.Module, data: Data, keep: Keep | None = None, stop: int | None = None, steps: int = 12
) -> list[Progress]:
    """The reports of a training, which is left at a step as a kill would leave it."""
    found = []
    for point in train(model, data, RECIPE, steps=steps, seed=5, report_at=range(1, steps + 1), keep=keep):
        found.append(point)
        if point.step == stop:
            break
    return found


@pytest.mark.parametrize("stop", [4, 5, 7, 11])
def test_it_goes_on_to_the_same_bits(tmp_path: Path, model: Callable[[], nn.Module], digits: Data, stop: int) -> None:
    whole = model()
    expected = run(whole, digits)
    keep = Keep(tmp_path / "state.safetensors", every=3)
    first = run(model(), digits, keep, stop=stop)
    torch.manual_seed(99)
    resumed = model()
    nn.init.normal_(next(resumed.parameters()))
    rest = run(resumed, digits, keep)
    done = (stop - 1) // 3 * 3  # a step is kept after its report was taken
    assert [point.step for point in rest] == list(range(done + 1, 13))
    assert first[:done] + rest == expected
    assert bits(resumed) == bits(whole)


def test_the_training_loss_of_a_report_counts_what_came_before_the_kill(
    tmp_path: Path, model: Callable[[], nn.Module], digits: Data
) -> None:
    def sparse(model: nn.Module, keep: Keep | None, steps_seen: int) -> list[Progress]:
        return list(islice(train(model, digits, RECIPE, steps=12, seed=5, report_at=[5], keep=keep), steps_seen))

    expected = sparse(model(), None, 2)
    keep = Keep(tmp_path / "state.safetensors", every=4)
    sparse(model(), keep, 1)  # ends at the report of step 5, after step 4 was kept
    assert sparse(model(), keep, 2) == expected


def test_a_finished_training_says_nothing_more(tmp_path: Path, model: Callable[[], nn.Module], digits: Data) -> None:
    keep = Keep(tmp_path / "state.safetensors", every=6)
    whole = model()
    run(whole, digits, keep)
    again = model()
    assert run(again, digits, keep) == []
    assert bits(again) == bits(whole)


def test_keeping_changes_nothing(tmp_path: Path, model: Callable[[], nn.Module], digits: Data) -> None:
    assert run(model(), digits, Keep(tmp_path / "state.safetensors", every=1)) == run(model(), digits)


@pytest.mark.parametrize("change", ["seed", "steps", "recipe", "data", "model", "weights"])
def test_the_checkpoint_of_another_training_is_refused_by_name(
    tmp_path: Path, model: Callable[[], nn.Module], residual: Build, digits: Data, change: str
) -> None:
    keep = Keep(tmp_path / "state.safetensors", every=3)
    run(model(), digits, keep, stop=4)
    settings = {"steps": 12, "seed": 5}
    other, data, recipe, named = model(), digits, RECIPE, change
    if change in settings:
        settings[change] += 1
    elif change == "recipe":
        recipe = replace(RECIPE, lr=1e-4)
    elif change == "data":
        data = replace(digits, fingerprint="00ff")
    elif change == "model":
        other = Noisy(residual(depth=3, seed=3))
    else:
        named = "format"
        checkpoint.save(keep.path, other.state_dict(), {"digest": "abc"})
    before, content = bits(other), keep.path.read_bytes()
    message = f"state.safetensors is the checkpoint of another training: its {named} is"
    with pytest.raises(CheckpointError, match=re.escape(message)):
        list(train(other, data, recipe, report_at=[], keep=keep, **settings))
    assert bits(other) == before
    assert keep.path.read_bytes() == content


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "folder", "tensors", "step"])
def test_a_damaged_checkpoint_is_named(
    tmp_path: Path, model: Callable[[], nn.Module], digits: Data, damage: str
) -> None:
    path = tmp_path / "state.safetensors"
    run(model(), digits, Keep(path, every=3), stop=4)
    content = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage in ("tensors", "step"):
        tensors, metadata = checkpoint.load(path)
        if damage == "tensors":
            del tensors["model.seen"]
        else:
            metadata["step"] = "three"
        checkpoint.save(path, tensors, metadata)
    else:
        path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "text": b"hello" * 9}[damage])
    with pytest.raises(CheckpointError, match=r"state\.safetensors"):
        run(model(), digits, Keep(path, every=3))


def test_it_is_kept_every_one_or_more_steps(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="every 1 or more steps, not 0"):
        Keep(tmp_path / "a", every=0)


@given(st.integers(1, 20), st.integers(1, 30), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_batches_start_anywhere_in_the_same_order(count: int, batch: int, start: int) -> None:
    whole = list(islice(batches(count, batch, seed=1), start + 3))
    assert all(map(torch.equal, islice(batches(count, batch, seed=1, start=start), 3), whole[start:]))


KILLED = """
import hashlib, sys
from pathlib import Path
import torch
from torch import nn
from trainers import backbones, loop
from trainers.catalogue import Source
from trainers.data import load
from trainers.recipe import Recipe
from trainers.resume import Keep
backbone = backbones.build("transformer", depth=2, dim=16, context=16, classes=256)
backbone.initialise(7)
model = nn.Sequential(backbone.stem, nn.Dropout(0.1), *backbone.blocks, backbone.head)
torch.manual_seed(1)
keep = Keep(Path(sys.argv[2]), every=7) if len(sys.argv) > 2 else None
data = load(Source("text", context=16, path=sys.argv[1]))
for point in loop.train(model, data, Recipe(threads=1), steps=300, seed=7, report_at=range(50, 301, 50), keep=keep):
    print(point, flush=True)
print(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
"""


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    text, state = tmp_path / "text.txt", tmp_path / "state.safetensors"
    text.write_bytes(hashlib.shake_128(b"text").digest(60_000))
    command = [sys.executable, "-c", KILLED, str(text)]
    expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    said: list[str] = []
    for lines in (1, 2):  # killed twice, at a random place behind so many reports
        process = subprocess.Popen([*command, str(state)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said += [process.stdout.readline().strip() for _ in range(lines)]
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    said += subprocess.run([*command, str(state)], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[-1] == expected[-1], "the weights, to the last bit"
    assert set(said) <= set(expected), "no report differs, though some may be repeated or lost with the pipe"
    assert load(Source("text", context=16, path=str(text))).facts["context"] == 16
