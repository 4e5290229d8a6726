"""How a model is trained, as a torch-free value, and the arithmetic that follows from it."""

import math
from dataclasses import dataclass

from trainers.errors import TrainerError


@dataclass(frozen=True)
class Recipe:
    """Settings of AdamW; `warmup` is a fraction of the steps, `clip` the largest global gradient norm.

    `threads` is the number of CPU threads torch may use, None to leave it alone. Raises TrainerError.
    """

    batch: int = 64
    lr: float = 2e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise TrainerError(f"batch must be at least 1, not {self.batch}")
        # Written as "not inside", so that NaN is refused too.
        if not 0.0 < self.lr < math.inf:
            raise TrainerError(f"lr must be positive and finite, not {self.lr}")
        if not 0.0 <= self.warmup <= 1.0:
            raise TrainerError(f"warmup is a fraction of the steps, from 0 to 1, not {self.warmup}")
        if not 0.0 <= self.weight_decay < math.inf:
            raise TrainerError(f"weight_decay must be 0 or more and finite, not {self.weight_decay}")
        if not self.clip > 0.0:
            raise TrainerError(f"clip must be positive, not {self.clip}")
        if self.threads is not None and self.threads < 1:
            raise TrainerError(f"threads must be at least 1, not {self.threads}")


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The rate of a step (1 to `steps`): linear up to `lr`, then a cosine, 0 at step `steps` + 1."""
    ramp = round(recipe.warmup * steps)
    if step <= ramp:
        return recipe.lr * step / ramp
    return recipe.lr * 0.5 * (1.0 + math.cos(math.pi * (step - 1 - ramp) / (steps - ramp)))


def steps_for(budget_flops: float, flops_per_sample: int, batch: int) -> int:
    """Whole training steps in a budget, a backward counted as two forwards; TrainerError if none fits."""
    per_step = 3 * flops_per_sample * batch
    steps = int(budget_flops // per_step)
    if steps < 1:
        raise TrainerError(
            f"a budget of {budget_flops:,.0f} FLOPs is less than one training step: "
            f"the smallest that gives one is {per_step:,}"
        )
    return steps
