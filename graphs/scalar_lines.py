"""Entries that depend on others of the matrix and on where these stand: Sinkhorn, and the choice of the greatest."""

import functools
from fractions import Fraction
from typing import TYPE_CHECKING

from graphs.weights import Sinkhorn, TopK, greatest

if TYPE_CHECKING:
    from graphs.scalars import Entries, Scalars


def sinkhorn(scalars: "Scalars", weight: Sinkhorn, inner: "Entries") -> "Entries":
    """Rows and columns may be permuted, so each is a node that its logits hang on."""
    n = weight.shape[0]

    @functools.cache
    def spelled() -> tuple[int, list[int]] | None:
        """The whole and its cells; None where all logits are equal for ever."""
        logits = tuple(scalars.logit(inner(a, b)) for a in range(n) for b in range(n))
        if len(set(logits)) == 1:
            return None
        key = ("sinkhorn", weight.iterations, logits)
        rows = [scalars.shared((*key, "row", a), "sinkhorn row", []) for a in range(n)]
        columns = [scalars.shared((*key, "column", b), "sinkhorn column", []) for b in range(n)]
        cells = []
        for place, node in enumerate(logits):
            children = [(node, "logit"), (rows[place // n], "row"), (columns[place % n], "column")]
            cells.append(scalars.shared((*key, "cell", place), "sinkhorn cell", children))
        whole = scalars.shared((*key, "group"), f"sinkhorn {weight.iterations}", [(cell, "cell") for cell in cells])
        return whole, cells

    def entry(i: int, j: int) -> int:
        known = spelled()
        if known is None:
            return scalars.constant(Fraction(1, n))
        whole, cells = known
        children = [(whole, "group"), (cells[i * n + j], "own")]
        node = scalars.shared(("entry", whole, i, j), "sinkhorn entry", children)
        return scalars.share((whole, i), [("entry", whole, i, b) for b in range(n)], node)  # rows are divided last

    return entry


def top_k(scalars: "Scalars", weight: TopK, inner: "Entries") -> "Entries":
    """The places of the scores are told apart, because of equal ones the last is taken."""
    k = weight.shape[1]

    @functools.cache
    def row(i: int) -> tuple[int | None, ...]:
        scores = tuple(scalars.logit(inner(i, j)) for j in range(k))
        fixed = tuple(value for node in scores if (value := scalars.constant_value(node)) is not None)
        if weight.fan_in == k or len(fixed) == k or len(set(scores)) == 1:  # decided for ever
            kept = greatest(fixed if len(fixed) == k else (0,) * k, weight.fan_in)
            return tuple(scalars.constant(1) if one else None for one in kept)
        children = [(node, f"score {j}") for j, node in enumerate(scores)]
        whole = scalars.shared(("top", weight.fan_in, scores), f"the {weight.fan_in} greatest of {k}", children)
        return tuple(scalars.shared(("chosen", whole, j), f"chosen {j}", [(whole, "of")]) for j in range(k))

    return lambda i, j: row(i)[j]
