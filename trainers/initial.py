"""Common random numbers: initial weights that depend on the seed and the block's name alone."""

import math

import torch
from torch import nn

from trainers.errors import TrainerError
from trainers.seeding import generator


def initialise(module: nn.Module, *, seed: int, name: str, inner_scale: float = 1.0, output_scale: float = 1.0) -> None:
    """Set every parameter of the module in place from (seed, name, the parameter's own qualified name).

    Linear weights are U(-b, b) with b = 1 / sqrt(fan_in), torch's own default, times `output_scale` in the last
    linear map of the module, in order of definition, and `inner_scale` in the others: the draw is the same at any
    scale. Linear biases are 0; LayerNorm starts as 1 and 0. Drawn and scaled in float32 on the CPU, whatever the
    parameter's dtype and device; the global generator is not used. Raises TrainerError on a parameter that
    belongs to any other kind of module.
    """
    linear = [part for part in module.modules() if isinstance(part, nn.Linear)]
    for path, part in module.named_modules():
        for own, parameter in part.named_parameters(recurse=False):
            qualified = f"{path}.{own}" if path else own
            start = _start(part, own, parameter, (seed, name, qualified))
            if isinstance(part, nn.Linear) and own == "weight":
                start *= output_scale if part is linear[-1] else inner_scale
            with torch.no_grad():
                parameter.copy_(start)


def _start(part: nn.Module, own: str, parameter: nn.Parameter, key: tuple[int, str, str]) -> torch.Tensor:
    if isinstance(part, nn.Linear) and own == "weight":
        bound = 1.0 / math.sqrt(part.in_features)
        return torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator(*key))
    if isinstance(part, nn.Linear | nn.LayerNorm) and own == "bias":
        return torch.zeros(parameter.shape)
    if isinstance(part, nn.LayerNorm) and own == "weight":
        return torch.ones(parameter.shape)
    raise TrainerError(
        f"cannot initialise {key[2]!r} of {key[1]!r}: it belongs to a {type(part).__name__}, "
        "and only Linear and LayerNorm have a rule"
    )
