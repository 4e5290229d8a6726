"""The seconds that a network's inference takes here, measured in turns with another's. Needs torch."""

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WARM_UP = 2  # runs that count for nothing


@dataclass(frozen=True, slots=True)
class Latency:
    """Median seconds of a forward pass, and the median of its ratio to the other network's beside it."""

    seconds: float
    ratio: float


def latency(model: nn.Module, other: nn.Module, inputs: Tensor, runs: int) -> Latency:
    """Time ``runs`` forward passes of each on ``inputs``, in turns, so that what slows the machine slows both.

    Both are left in the mode they were in. On a GPU each pass is waited for.
    """
    before = model.training, other.training
    model.eval()
    other.eval()
    try:
        with torch.inference_mode():
            pairs = []
            for turn in range(WARM_UP + runs):
                order = (model, other) if turn % 2 else (other, model)
                took = {id(one): _seconds(one, inputs) for one in order}
                pairs.append((took[id(model)], took[id(other)]))
    finally:
        model.train(before[0])
        other.train(before[1])
    counted = pairs[WARM_UP:]
    ratio = statistics.median(mine / max(theirs, 1e-12) for mine, theirs in counted)
    return Latency(statistics.median(mine for mine, _ in counted), ratio)


def _seconds(model: nn.Module, inputs: Tensor) -> float:
    _settle(inputs)
    started = time.perf_counter()
    model(inputs)
    _settle(inputs)
    return time.perf_counter() - started


def _settle(inputs: Tensor) -> None:
    if inputs.is_cuda:
        torch.cuda.synchronize(inputs.device)
