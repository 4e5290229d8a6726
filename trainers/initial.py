"""Common random numbers: initial weights that depend on the seed and the block's name alone."""

import math

import torch
from torch import nn

from trainers.errors import TrainerError
from trainers.seeding import generator

# A true attribute of this name exempts a linear map from initial scales, see trainers.hints.
UNSCALED = "unscaled"


def initialise(module: nn.Module, *, seed: int, name: str, inner_scale: float = 1.0, output_scale: float = 1.0) -> None:
    """Set every parameter of the module in place from (seed, name, the parameter's own qualified name).

    Linear weights are U(-b, b) with b = 1 / sqrt(fan_in), torch's own default, times `output_scale` in the last
    linear map of the module, in order of definition, and `inner_scale` in the others, those marked `unscaled` aside:
    the draw is the same at any scale. Linear biases are 0; LayerNorm starts as 1 and 0; an Embedding is normal with
    variance 1 / width. Drawn and scaled in float32 on the CPU, whatever the parameter's dtype and device; the global
    generator is not used. Raises TrainerError on a parameter that belongs to any other kind of module.
    """
    linear = [part for part in module.modules() if isinstance(part, nn.Linear)]
    for path, part in module.named_modules():
        for own, parameter in part.named_parameters(recurse=False):
            qualified = f"{path}.{own}" if path else own
            start = _start(part, own, parameter, (seed, name, qualified))
            if isinstance(part, nn.Linear) and own == "weight" and not getattr(part, UNSCALED, False):
                start *= output_scale if part is linear[-1] else inner_scale
            with torch.no_grad():
                parameter.copy_(start)


def restart(module: nn.Module, *, seed: int, name: str, inner_scale: float = 1.0, output_scale: float = 1.0) -> None:
    """The same for a module of somebody else: its parts' own `reset_parameters`, drawn from (seed, name).

    Scales are as in `initialise`. The global generator is left as it was. Raises TrainerError on a parameter of a
    part without that method, whose start would not depend on the seed.
    """
    for path, part in module.named_modules():
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        for own, _ in part.named_parameters(recurse=False):
            if reset is None:
                raise TrainerError(
                    f"cannot initialise {f'{path}.{own}'.lstrip('.')!r} of {name!r}: {type(part).__name__} has no "
                    "reset_parameters(), which a search needs to give every topology the same start"
                )
        if reset is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(generator(seed, name, path).initial_seed())
                reset()
    linear = [part for part in module.modules() if isinstance(part, nn.Linear)]
    for part in linear:
        with torch.no_grad():
            part.weight *= output_scale if part is linear[-1] else inner_scale


def _start(part: nn.Module, own: str, parameter: nn.Parameter, key: tuple[int, str, str]) -> torch.Tensor:
    if isinstance(part, nn.Linear) and own == "weight":
        bound = 1.0 / math.sqrt(part.in_features)
        return torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator(*key))
    if isinstance(part, nn.Linear | nn.LayerNorm) and own == "bias":
        return torch.zeros(parameter.shape)
    if isinstance(part, nn.LayerNorm) and own == "weight":
        return torch.ones(parameter.shape)
    if isinstance(part, nn.Embedding):
        return torch.empty(parameter.shape).normal_(0.0, part.embedding_dim**-0.5, generator=generator(*key))
    raise TrainerError(
        f"cannot initialise {key[2]!r} of {key[1]!r}: it belongs to a {type(part).__name__}, "
        "and only Linear, LayerNorm and Embedding have a rule"
    )
