"""Weight rules evaluated with torch: one function per rule, from the tensors of its children.

A tensor of a rule of shape (m, k) is ``(*tokens, m, k, *entry)``: ``tokens`` are the leading axes of the hidden
states where the rule is per token and nothing otherwise; ``entry`` is nothing for scalars, ``(parts,)`` for a factor
per part of the channels, and ``(parts, parts)``, destination first, for entries that mix parts (see ``Grain``).
"""

import torch
from torch import Tensor

from graphs.weights import Grain, Permutations, Place, Sigmoid, Sinkhorn, Softmax, Sum, Times, TopK, Weight

MIN_NORM = 1e-6  # what the mean square of a normalised vector is raised by


def lift(tensor: Tensor, given: Grain, wanted: Grain, dim: int) -> Tensor:
    """The same weights with entries as fine as ``wanted``."""
    if given == wanted:
        return tensor
    have, need = given.width(dim), wanted.width(dim)
    if given == Grain():
        tensor = tensor.unsqueeze(-1).expand(*tensor.shape, need)
    elif have != need:
        tensor = tensor.repeat_interleave(need // have, dim=-1)
        if given.full:
            inside = torch.eye(need // have, dtype=tensor.dtype, device=tensor.device)
            tensor = tensor.repeat_interleave(need // have, dim=-2) * inside.repeat(have, have)
    return tensor.diag_embed() if wanted.full and not given.full else tensor


def product(left: Tensor, right: Tensor, grain: Grain) -> Tensor:
    """Matrix product over the sources, entries multiplied as they act: both of ``grain``."""
    if grain.full:
        return torch.einsum("...mhpq,...hkqr->...mkpr", left, right)
    return left @ right if grain == Grain() else torch.einsum("...mhp,...hkp->...mkp", left, right)


def placed(of: Tensor, rule: Place, index: Tensor, entry_axes: int) -> Tensor:
    """Entries moved; ``index`` (m * k,) holds the flat place of each in ``of``, or one past its end for zero."""
    first = of.ndim - entry_axes - 2
    flat = of.flatten(first, first + 1)
    if len(rule.cells) < rule.size[0] * rule.size[1]:
        flat = torch.cat([flat, flat.new_zeros(()).expand_as(flat.narrow(first, 0, 1))], dim=first)
    return torch.unflatten(flat.index_select(first, index), first, rule.size)


def place_index(rule: Place) -> list[int]:
    """What :func:`placed` takes as its index."""
    (m, k), (rows, columns) = rule.size, rule.of.shape
    index = [rows * columns] * (m * k)
    for i, j, a, b in rule.cells:
        index[i * k + j] = a * columns + b
    return index


def permuted_constant(rule: Permutations) -> list[list[float]]:
    """Row s: the permutation matrix s, flat."""
    n = rule.size
    table = [[0.0] * (n * n) for _ in range(rule.of.shape[1])]
    for i in range(n):
        for j in range(n):
            for s in rule.members(i, j):
                table[s][i * n + j] = 1.0
    return table


def permuted(of: Tensor, rule: Permutations, table: Tensor) -> Tensor:
    """The mixture of permutation matrices; ``table`` is :func:`permuted_constant`."""
    entry_axes = 0 if rule.grain == Grain() else 2 if rule.grain.full else 1
    first = of.ndim - entry_axes - 2
    mixed: Tensor = of.squeeze(first).movedim(first, -1) @ table
    return torch.unflatten(mixed, -1, rule.shape).movedim((-2, -1), (first, first + 1))


def sinkhorn(logits: Tensor, iterations: int, entry_axes: int) -> Tensor:
    """Alternate normalisation of columns, then rows, in logarithms: exp never overflows."""
    rows, columns = logits.ndim - entry_axes - 2, logits.ndim - entry_axes - 1
    for _ in range(iterations):
        logits = logits - logits.logsumexp(dim=rows, keepdim=True)
        logits = logits - logits.logsumexp(dim=columns, keepdim=True)
    return logits.exp()


def chosen(scores: Tensor, fan_in: int) -> Tensor:
    """Ones at the ``fan_in`` greatest scores of each row, exactly, and zeros; their gradient is the scores'.

    Of equal scores the last is taken, as :class:`graphs.weights.TopK` says.
    """
    fixed = scores.detach()
    order = fixed.flip(-1).argsort(dim=-1, descending=True, stable=True)[..., :fan_in]
    ones = torch.zeros_like(fixed).scatter(-1, scores.shape[-1] - 1 - order, 1.0)
    return ones + (scores - fixed)


def combine(rule: Weight, parts: list[Tensor], dim: int) -> Tensor:
    """The tensor of a rule made of others, but for products and placements."""
    entry_axes = 0 if rule.grain == Grain() else 2 if rule.grain.full else 1
    lifted = [lift(part, child.grain, rule.grain, dim) for part, child in zip(parts, rule.children, strict=True)]
    match rule:
        case Sum():
            first, *others = lifted
            for other in others:
                first = first + other
            return first
        case Times():
            if rule.grain.full:
                return torch.einsum("...mkpq,...mkqr->...mkpr", *lifted)
            return lifted[0] * lifted[1]
        case Softmax(temperature=temperature, over=over):
            axis = -1 if over == "sources" else -2
            return torch.softmax(lifted[0] / temperature, dim=axis - entry_axes)
        case TopK(fan_in=fan_in):
            return chosen(lifted[0], fan_in)
        case Sigmoid(scale=scale):
            return torch.sigmoid(lifted[0]) * scale
        case Sinkhorn(iterations=iterations):
            return sinkhorn(lifted[0], iterations, entry_axes)
    return torch.tanh(lifted[0])


def normalise(keys: Tensor, norm: str, gain: Tensor | None) -> Tensor:
    """RMS or layer norm over the last axis, without a bias."""
    if norm == "layer":
        keys = keys - keys.mean(dim=-1, keepdim=True)
    if norm != "none":
        keys = keys * torch.rsqrt(keys.square().mean(dim=-1, keepdim=True) + MIN_NORM)
    return keys if gain is None else keys * gain
