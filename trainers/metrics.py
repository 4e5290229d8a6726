"""What is measured on a split."""

import torch
from torch import nn

from trainers.data import Split


def evaluate(model: nn.Module, split: Split, batch: int = 1024) -> tuple[float, float]:
    """Accuracy (correct / n) and mean cross entropy in nats, summed in float64; keeps the model's mode."""
    device = next(model.parameters()).device
    mode = model.training
    model.eval()
    correct = 0
    total = 0.0
    count = len(split.labels)
    with torch.inference_mode():
        for start in range(0, count, batch):
            logits = model(split.images[start : start + batch].to(device))
            target = split.labels[start : start + batch].to(device)
            correct += int((logits.argmax(dim=1) == target).sum())
            total += float(nn.functional.cross_entropy(logits.double(), target, reduction="sum"))
    model.train(mode)
    return correct / count, total / count
