"""A backbone that a user's function makes: called, checked, and counted on the meta device, where nothing is run."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainers import functions
from trainers.backbones.backbone import Backbone
from trainers.costs import BackboneCosts, BlockCost
from trainers.errors import TrainerError
from trainers.hints import PLAIN, BlockHints
from trainers.initial import restart
from trainers.shapes import FunctionShape


def user(shape: FunctionShape, hints: tuple[BlockHints, ...]) -> Backbone:
    """What the function returns, a (stem, blocks, head) of modules with `depth` blocks; TrainerError otherwise.

    It is called with `depth`, `dim`, `classes` and `image` and `channels`, or `context` of text; with `hints`, a
    mapping by block number and name, if it takes any. Rates and initial scales are seen to in any case.
    """
    sizes = {name: getattr(shape, name) for name in ("image", "channels", "context")}
    arguments: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
    arguments |= {"depth": shape.depth, "dim": shape.dim, "classes": shape.classes}
    if "hints" in inspect.signature(functions.load(shape.function)).parameters:
        arguments["hints"] = _given(hints)
    else:
        _check_hints(shape.function, hints)
    stem, blocks, head = _parts(shape.function, functions.call(shape.function, **arguments), shape.depth)
    names = tuple(f"block{number}" for number in range(1, shape.depth + 1))
    return Backbone(stem, blocks, head, names, hints, start=restart)


def user_costs(shape: FunctionShape, hints: tuple[BlockHints, ...]) -> BackboneCosts:
    """What torch counts on the meta device: matrix products, convolutions and attention of one sample's forward pass.

    Raises TrainerError where a part cannot run there, or gives other shapes than (1, .., dim), or than logits.
    """
    what = shape.function
    with torch.device("meta"):
        backbone = user(shape, hints)
        inputs, logits = _ends(shape)
        stem_flops, x0 = _counted(what, "stem", backbone.stem, inputs)
        if x0.shape[-1] != shape.dim or x0.ndim < 2 or len(x0) != 1:
            raise TrainerError(
                f"{what}: of an input {tuple(inputs.shape)} the stem makes {tuple(x0.shape)}; "
                f"its last axis must be dim, {shape.dim}, its first the batch"
            )
        blocks = []
        for name, block in zip(backbone.names, backbone.blocks, strict=True):
            flops, y = _counted(what, name, block, x0)
            if y.shape != x0.shape:
                raise TrainerError(
                    f"{what}: {name} makes {tuple(y.shape)} of {tuple(x0.shape)}; a block keeps the shape"
                )
            blocks.append(BlockCost("user", flops, _parameters(block)))
        head_flops, found = _counted(what, "head", backbone.head, x0)
    if tuple(found.shape) != logits:
        raise TrainerError(f"{what}: the head makes {tuple(found.shape)} of {tuple(x0.shape)}; must make {logits}")
    return BackboneCosts(
        tokens=x0.numel() // shape.dim,
        dim=shape.dim,
        stem_flops=stem_flops,
        head_flops=head_flops,
        stem_parameters=_parameters(backbone.stem),
        head_parameters=_parameters(backbone.head),
        blocks=tuple(blocks),
    )


def _given(hints: tuple[BlockHints, ...]) -> dict[int, dict[str, float]]:
    """The hints that change anything, by block number and name."""
    found = {}
    for number, hint in enumerate(hints, start=1):
        changed = {n: getattr(hint, n) for n in hint.__slots__ if getattr(hint, n) != getattr(PLAIN, n)}
        if changed:
            found[number] = changed
    return found


def _check_hints(what: str, hints: tuple[BlockHints, ...]) -> None:
    for number, given in _given(hints).items():
        for name in ("pre_norm", "norm_scale"):
            if name in given:
                raise TrainerError(
                    f"block {number} is asked for {name} {given[name]:g}, which {what} cannot give: it takes no hints"
                )


def _parts(what: str, given: object, depth: int) -> tuple[nn.Module, tuple[nn.Module, ...], nn.Module]:
    if isinstance(given, Mapping):
        given = tuple(given.get(name) for name in ("stem", "blocks", "head"))
    if not isinstance(given, tuple) or len(given) != 3:
        raise TrainerError(f"{what}: returned a {type(given).__name__}; must return (stem, blocks, head)")
    stem, blocks, head = given
    for name, part in (("stem", stem), ("head", head)):
        if not isinstance(part, nn.Module):
            raise TrainerError(f"{what}: the {name} is a {type(part).__name__}; must be a torch module")
    if not isinstance(blocks, Sequence | nn.ModuleList) or len(blocks) != depth:
        count = f"{len(blocks)}" if isinstance(blocks, Sequence | nn.ModuleList) else f"a {type(blocks).__name__} as"
        raise TrainerError(f"{what}: returned {count} blocks; must be a list of {depth}, as many as it was asked for")
    for number, block in enumerate(blocks, start=1):
        if not isinstance(block, nn.Module):
            raise TrainerError(f"{what}: block {number} is a {type(block).__name__}; must be a torch module")
    if len(set(map(id, blocks))) != depth:
        raise TrainerError(f"{what}: the same module is returned for two blocks; make one for each")
    return stem, tuple(blocks), head


def _ends(shape: FunctionShape) -> tuple[torch.Tensor, tuple[int, ...]]:
    """One sample of input, on the default device, and the shape of its logits."""
    if shape.context is not None:
        return torch.zeros(1, shape.context, dtype=torch.uint8), (1, shape.context, shape.classes)
    assert shape.image is not None
    assert shape.channels is not None
    return torch.zeros(1, shape.channels, *shape.image), (1, shape.classes)


def _counted(what: str, name: str, module: nn.Module, x: torch.Tensor) -> tuple[int, torch.Tensor]:
    try:
        with warnings.catch_warnings(), FlopCounterMode(display=False) as counter, torch.no_grad():
            warnings.simplefilter("ignore")
            y = module(x)
    except Exception as error:
        raise TrainerError(
            f"{what}: {name} of an input {tuple(x.shape)} raised {type(error).__name__}: {error} "
            "(costs are counted on the meta device, where tensors have no values)"
        ) from error
    y = y[0] if isinstance(y, tuple) else y
    if not isinstance(y, torch.Tensor):
        raise TrainerError(f"{what}: {name} returned a {type(y).__name__}; must return a tensor")
    return int(counter.get_total_flops()), y


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
