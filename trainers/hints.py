"""Block hints: what a connection method changes inside a block, as numbers by name. Needs no torch.

A method whose formula is x <- A x + s F(N(x)) leaves A and s to the wiring; what it asks of F, of N and of the
training of F's weights are the hints of that block. Our backbones honour every hint of `KNOWN`.
Query and key maps of an attention are not among the linear maps that initial scales mean: DeepNorm and T-Fixup
(huang20f, ICML 2020) scale values, outputs and feed-forward maps alone.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from trainers.errors import TrainerError, unknown

# Hints by block number (1 to depth), then by name.
Hints = Mapping[int, Mapping[str, float]]
Legal = Literal["0 or 1", "0 or more", "more than 0"]

# NaN fails both comparisons, and an infinity the second. All values are without unit.
_IS: dict[Legal, Callable[[float], bool]] = {
    "0 or 1": lambda value: value in (0, 1),
    "0 or more": lambda value: 0 <= value <= sys.float_info.max,
    "more than 0": lambda value: 0 < value <= sys.float_info.max,
}


@dataclass(frozen=True, slots=True)
class Hint:
    """What a hint's value s does to its block, the methods that ask for it, and which values it may have."""

    does: str
    source: str
    legal: Legal


KNOWN: dict[str, Hint] = {
    "pre_norm": Hint(
        "0 leaves out the block's own normalisation, with its parameters; 1 keeps it.",
        "DeepNorm (arXiv:2203.00555) and other post-norm designs, ReZero (2003.04887), Fixup (1901.09321), "
        "SkipInit (2002.10444): 0",
        "0 or 1",
    ),
    "norm_scale": Hint(
        "The block's normalised input is multiplied by s.",
        "LayerNorm Scaling (arXiv:2502.05795): 1/sqrt(l) in layer l, counted from 1",
        "more than 0",
    ),
    "init_scale": Hint(
        "The initial weights of every linear map of the block are multiplied by s.",
        "DeepNorm (arXiv:2203.00555): (8N)^(-1/4) for N transformer layers of an encoder or a decoder alone",
        "0 or more",
    ),
    "inner_init_scale": Hint(
        "The initial weights of every linear map of the block but the last are multiplied by s.",
        "Fixup (arXiv:1901.09321): L^(-1/(2m-2)) for L blocks of m maps each",
        "0 or more",
    ),
    "output_init_scale": Hint(
        "The initial weights of the last linear map of the block are multiplied by s.",
        "Fixup (arXiv:1901.09321): 0; hyper-connections (2409.19606): a factor of sqrt(n) for n streams",
        "0 or more",
    ),
    "lr_scale": Hint(
        "The learning rate of the block's weight matrices is multiplied by s; biases and norms keep theirs.",
        "Depth-muP (arXiv:2310.02244): (depth/base)^(-1/2)",
        "more than 0",
    ),
    "eps_scale": Hint(
        "Adam's epsilon for the block's weight matrices is multiplied by s; biases and norms keep theirs.",
        "Depth-muP (arXiv:2310.02244): (depth/base)^(-1/2); CompleteP (2505.01618): base/depth",
        "more than 0",
    ),
}


@dataclass(frozen=True, slots=True)
class BlockHints:
    """The hints of one block, 1 where none was given: a block with these defaults is the plain one."""

    pre_norm: float = 1.0
    norm_scale: float = 1.0
    init_scale: float = 1.0
    inner_init_scale: float = 1.0
    output_init_scale: float = 1.0
    lr_scale: float = 1.0
    eps_scale: float = 1.0


PLAIN = BlockHints()


def check(hints: Hints | None, depth: int) -> tuple[BlockHints, ...]:
    """The hints of blocks 1 to `depth`, in this order and with defaults filled in.

    Raises TrainerError on a block that does not exist, an unknown hint, a value that is not one of the hint's
    legal numbers, and a `norm_scale` for a block without a norm.
    """
    hints = {} if hints is None else hints
    if not isinstance(hints, Mapping):
        raise TrainerError(f"hints must be a mapping of block numbers to hints, not {hints!r}")
    for number, given in hints.items():
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= depth:
            raise TrainerError(f"there is no block {number!r} to give hints to: blocks are numbered 1 to {depth}")
        if not isinstance(given, Mapping):
            raise TrainerError(f"the hints of block {number} must be a mapping of names to numbers, not {given!r}")
    return tuple(_block(number, hints.get(number, {})) for number in range(1, depth + 1))


def _block(number: int, given: Mapping[str, float]) -> BlockHints:
    values = {}
    for name, value in given.items():
        if name not in KNOWN:
            raise unknown(f"hint of block {number}", str(name), KNOWN)
        legal = KNOWN[name].legal
        if not isinstance(value, int | float) or isinstance(value, bool) or not _IS[legal](value):
            finite = legal if legal == "0 or 1" else f"a finite number, {legal}"
            raise TrainerError(f"hint {name!r} of block {number} must be {finite}, not {value!r}")
        values[name] = float(value)
    found = BlockHints(**values)
    if not found.pre_norm and found.norm_scale != PLAIN.norm_scale:
        raise TrainerError(
            f"block {number} has pre_norm 0 and norm_scale {found.norm_scale:g}: "
            "without a norm there is nothing to scale; leave one of them out"
        )
    return found
