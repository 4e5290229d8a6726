import math

import pytest
import torch
from torch import nn

from trainers.data import Split
from trainers.metrics import evaluate


class Given(nn.Module):
    """Logits are the inputs themselves; notes in which mode it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.modes: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        return x


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_a_hand_worked_split(batch: int) -> None:
    # Odds of 1:1, 1:3 and 4:1 for the right class: probabilities 1/2, 1/4, 4/5.
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(4)]])
    split = Split(inputs=logits, labels=torch.tensor([0, 1, 1]))
    accuracy, loss = evaluate(Given(), split, batch)
    assert accuracy == 2 / 3
    assert loss == pytest.approx((math.log(2) + math.log(4) + math.log(1.25)) / 3, rel=1e-6)


def test_the_loss_is_summed_in_float64() -> None:
    # Each sample costs 1e-10 nats, which float32 would round to nothing beside the first one's 50.
    logits = torch.tensor([[0.0, 50.0]] + [[-math.log(1e-10), 0.0]] * 1000)
    _, loss = evaluate(Given(), Split(inputs=logits, labels=torch.zeros(1001, dtype=torch.int64)))
    assert loss * 1001 - 50 == pytest.approx(1000 * 1e-10, rel=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_it_runs_in_eval_mode_and_restores_the_mode(training: bool) -> None:
    model = Given().train(training)
    evaluate(model, Split(inputs=torch.zeros(2, 2), labels=torch.zeros(2, dtype=torch.int64)))
    assert model.modes == [False]
    assert model.training is training
