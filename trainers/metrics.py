"""What is measured on a split."""

import torch
from torch import nn

from trainers.data import Split

PREDICTIONS = 8192  # of a batch of text, whose samples hold many; it bounds the memory that logits take


def evaluate(model: nn.Module, split: Split, batch: int = 1024) -> tuple[float, float]:
    """Accuracy (correct / n) and mean cross entropy in nats, summed in float64; keeps the model's mode.

    n counts labels: of images one a sample, of text one a byte. Bits per byte are nats / ln 2.
    """
    device = next(model.parameters()).device
    mode = model.training
    model.eval()
    correct = 0
    total = 0.0
    if split.labels.ndim > 1:
        batch = max(1, min(batch, PREDICTIONS // split.labels[0].numel()))
    with torch.inference_mode():
        for start in range(0, len(split.labels), batch):
            logits = model(split.inputs[start : start + batch].to(device)).flatten(0, -2)
            target = split.labels[start : start + batch].to(device, torch.int64).flatten()
            correct += int((logits.argmax(dim=1) == target).sum())
            total += float(nn.functional.cross_entropy(logits.double(), target, reduction="sum"))
    model.train(mode)
    count = split.labels.numel()
    return correct / count, total / count
