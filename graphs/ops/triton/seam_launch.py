"""Calling the seam kernels: sizes, buffers, and the sums over programs."""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from graphs.errors import CompileError
from graphs.ops.triton.seam_backward import seam_backward, seam_backward_rows, seam_maps
from graphs.ops.triton.seam_forward import seam_forward
from graphs.ops.triton.seam_tiles import HISTORY

MAX_STREAMS = 8
TOKENS = 16  # a program's tokens: tensor cores take no fewer, and their rows stay in the second-level cache
WARPS = 8
PARTS = 16  # of the tokens, in the sum of the maps' slope
ROW = 256  # numbers of a token that one tile holds, streams and channels padded to powers of two
SLOPE = 8192  # numbers of the maps' slope that a program holds beside them, padded likewise
SHARES = 264  # programs that share the tokens where they do: two for each of 132 multiprocessors


class Kind(NamedTuple):
    """The rules of a seam. ``name`` is "mhc", "tanh" or "linear", ``layer`` a layer norm in place of an RMS norm.

    With mHC's rules a map reads all streams, otherwise one. ``normed``: the block's input ends with an RMS norm. Slots
    are as in :mod:`graphs.ops.triton.seam_tiles`.
    """

    name: str
    streams: int
    layer: bool = False
    iterations: int = 0
    normed: bool = False

    @property
    def each(self) -> bool:
        return self.name != "mhc"

    @property
    def padded(self) -> int:
        return max(4, 1 << (self.streams - 1).bit_length())

    @property
    def rows(self) -> int:
        """Rows of slots; a matrix product takes at least 16 maps."""
        return max(16 if self.each else 4, 1 << (self.streams + 1).bit_length())

    @property
    def slots(self) -> tuple[int, int]:
        """P and Q."""
        return (self.padded, self.rows) if self.each else (self.rows, self.padded)

    @property
    def maps(self) -> int:
        """Maps, with those of slots that are not used."""
        return self.rows if self.each else self.rows * self.padded

    def checked(self) -> "Kind":
        if not 1 <= self.streams <= MAX_STREAMS:
            raise CompileError(f"the seam kernels take 1 to {MAX_STREAMS} streams, not {self.streams}")
        return self


class Forward(NamedTuple):
    """What the forward kernel gives: its outputs, then what its backward pass takes."""

    block_input: Tensor
    streams: Tensor
    later: Tensor
    width: Tensor
    raw: Tensor
    scale: Tensor
    mean: Tensor
    rstd: Tensor


def forward(
    y: Tensor, g: Tensor, write: Tensor, maps: Tensor, base: Tensor, gain: Tensor, fixed: Tensor, kind: Kind,
    norm: Tensor | None = None,
) -> Forward:  # fmt: skip
    """y (T, d), g (T, n, d) of one dtype, write (T, n, n + 1) or (n, n + 1), the others fp32; all contiguous.

    maps (RP, d), or (RP, n d); base and gain (P, Q); fixed (n, n + 1): the later weights but for their first column;
    norm (d,), the gain of the norm of the block's input, where ``kind`` is normed.
    """
    (tokens, dim), n = y.shape, kind.checked().streams
    p, q = kind.slots
    result = Forward(
        torch.empty_like(y),
        torch.empty_like(g),
        _new(y, tokens, n, n + 1),
        _new(y, tokens, n + 1, n),
        _new(y, tokens, p, q),
        _new(y, tokens, kind.padded),
        _new(y, tokens if kind.layer else 0, kind.padded),
        _new(y, tokens if kind.normed else 0),
    )
    if tokens:
        seam_forward[(triton.cdiv(tokens, TOKENS),)](
            y, g, write, _per_token(write), maps, base, gain, fixed, maps,
            result.block_input, result.streams, result.width, result.later, result.raw, result.scale, result.mean,
            maps if norm is None else norm, result.rstd,
            tokens, D=dim, ITERATIONS=kind.iterations, **_constants(kind, y), num_warps=WARPS,
        )  # fmt: skip
    return result


class Backward(NamedTuple):
    y: Tensor
    g: Tensor
    write: Tensor
    maps: Tensor | None
    base: Tensor
    gain: Tensor
    norm: Tensor | None = None


def backward(
    y: Tensor, g: Tensor, write: Tensor, maps: Tensor, base: Tensor, gain: Tensor, kept: Forward,
    grad_input: Tensor, grad_streams: Tensor, grad_later: Tensor, kind: Kind, learn: bool = True,
    norm: Tensor | None = None,
) -> Backward:  # fmt: skip
    """The slopes at all that :func:`forward` took; at the maps only where they ``learn``."""
    (tokens, dim), n = y.shape, kind.streams
    p, q = kind.slots
    groups = triton.cdiv(tokens, TOKENS)
    bases, gains = _new(y, 2, groups, p, q)
    to_write = _new(y, tokens, n, n + 1)
    to_y, to_g = torch.empty_like(y), torch.empty_like(g)
    constants = _constants(kind, y)
    norms = _new(y, groups if kind.normed else 0, dim)
    whole = learn and in_rows(kind, dim)
    parts = min(SHARES if whole else PARTS, max(groups, 1))
    each = triton.cdiv(groups, parts)
    pieces = _new(y, parts if learn else 0, *maps.shape)
    if tokens:
        history = _new(y, tokens * kind.iterations * HISTORY.value if kind.name == "mhc" else 1)
        given = (
            y, g, write, _per_token(write), maps, base, gain, history, kept.width, kept.raw, kept.scale, kept.mean,
            grad_input, grad_streams, grad_later, to_y, to_g, to_write, bases, gains,
            maps if norm is None else norm, kept.rstd, norms,
        )  # fmt: skip
        more = {"D": dim, "ITERATIONS": kind.iterations, **constants, "num_warps": WARPS}
        if whole:
            parts = triton.cdiv(groups, each)  # none without a group
            seam_backward_rows[(parts,)](*given, pieces, tokens, each, **more | {"BD": _row(dim)})
        else:
            to_raw = _new(y, tokens, p, q)
            seam_backward[(groups,)](*given, to_raw, tokens, **more)
            if learn:
                names = ("N", "NP", "RP", "EACH", "BT", "BD", "PRECISION")
                seam_maps[(triton.cdiv(dim, constants["BD"]), parts)](
                    y, g, write, _per_token(write), to_raw, pieces, tokens, each * TOKENS, D=dim,
                    **{name: constants[name] for name in names}, num_warps=WARPS,
                )  # fmt: skip
    slope = None
    if learn:
        slope = pieces[:parts].sum(0) if tokens else torch.zeros_like(maps)
        slope = _centred(slope) if kind.layer else slope
    of_write = to_write if write.ndim == 3 else to_write.sum(0)
    return Backward(to_y, to_g, of_write, slope, bases.sum(0), gains.sum(0), norms.sum(0) if kind.normed else None)


def in_rows(kind: Kind, dim: int) -> bool:
    """Whether one tile holds a token's row of all streams, and a program the maps' slope: one kernel backward."""
    row = kind.padded * _row(dim)
    return row <= ROW and kind.maps * (_row(dim) if kind.each else row) <= SLOPE


def _row(dim: int) -> int:
    return max(16, 1 << (dim - 1).bit_length())


def centred(maps: Tensor) -> Tensor:
    """Maps (RP, d) without their means: with a layer norm the means of the rows then have no part."""
    return maps - maps.mean(dim=1, keepdim=True)


_centred = centred  # its own slope


def _new(like: Tensor, *size: int) -> Tensor:
    return torch.empty(size, dtype=torch.float32, device=like.device)


def _per_token(write: Tensor) -> int:
    return write.stride(0) if write.ndim == 3 else 0


def _constants(kind: Kind, like: Tensor) -> dict[str, Any]:
    p, q = kind.slots
    exact = like.dtype not in (torch.bfloat16, torch.float16)
    return {
        "N": kind.streams,
        "NP": kind.padded,
        "P": p,
        "Q": q,
        "RP": kind.maps,
        "KIND": kind.name,
        "EACH": kind.each,
        "LAYER": kind.layer,
        "NORMED": kind.normed,
        "BT": TOKENS,
        # Of 32, 64 and 128 channels, those whose tiles compile without spilling (or nearly) and fit in shared memory.
        "BD": 32 if kind.padded == 4 else 16,
        # tf32 keeps more digits than a state that was rounded to 16 bits has.
        "PRECISION": "ieee" if exact else "tf32",
    }
