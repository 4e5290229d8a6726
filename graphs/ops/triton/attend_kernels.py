"""The kernels of attention over depth. A tile has whole rows: a logit needs all channels of a token."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["k", "rows", "stride"])
def attend_kernel(
    sources,
    factors,
    key,
    out,
    before,
    tops,
    totals,
    logits,
    rows,
    width,
    k,
    stride,
    BUCKET: tl.constexpr,
    PLACES: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    CONTINUES: tl.constexpr,
    FINAL: tl.constexpr,
):
    """Softmax over the sources as they come: what was summed is scaled down when a larger logit appears.

    ``factors`` are those of the sources' norms; at the end ``totals`` has the logarithm of the sum of exponentials.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = row < rows
    col = tl.broadcast_to(tl.arange(0, COLS)[None, :], (ROWS, COLS))
    inside = live[:, None] & (col < width)
    at = row.to(tl.int64)[:, None] * width + col
    asked = tl.load(key + col, mask=inside, other=0.0)
    if CONTINUES:
        summed = tl.load(before + at, mask=inside, other=0.0)
        top = tl.load(tops + row, mask=live, other=0.0)
        total = tl.load(totals + row, mask=live, other=1.0)
    else:
        summed = tl.zeros((ROWS, COLS), tl.float32)
        top = tl.full((ROWS,), float("-inf"), tl.float32)
        total = tl.zeros((ROWS,), tl.float32)
    place = tl.arange(0, PLACES)[None, :]  # lanes that keep what is stored at the end: a load would not pass a store
    said = tl.zeros((ROWS, PLACES), tl.float32)
    for j in tl.static_range(BUCKET):
        x = tl.load(sources[j] + at, mask=inside & (j < k), other=0.0).to(tl.float32)
        logit = tl.sum(x * asked, axis=1) * tl.load(factors[j] + row, mask=live & (j < k), other=0.0)
        said = tl.where(place == j, logit[:, None], said)
        logit = tl.where(j < k, logit, float("-inf"))
        higher = tl.maximum(top, logit)  # finite from the first source on
        shrink = tl.exp(top - higher)
        share = tl.exp(logit - higher)
        summed = summed * shrink[:, None] + share[:, None] * x
        total = total * shrink + share
        top = higher
    to = (row.to(tl.int64) * stride)[:, None] + place
    tl.store(logits + to, said, mask=live[:, None] & (place < k))
    if FINAL:
        summed = summed / total[:, None]
        total = top + tl.log(total)
    tl.store(out + at, summed.to(out.dtype.element_ty), mask=inside)
    tl.store(tops + row, top, mask=live)
    tl.store(totals + row, total, mask=live)


@triton.jit(do_not_specialize=["edges", "rows", "stride"])
def attend_backward_kernel(
    grads,
    source,
    keys,
    logits,
    lse,
    rstd,
    delta,
    out,
    before,
    pulls,
    rows,
    width,
    edges,
    stride,
    BUCKET: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    CONTINUES: tl.constexpr,
):
    """One source, all its consumers: its gradient, and ``pulls`` (rows, edges): the logits' gradients times rstd."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = row < rows
    col = tl.broadcast_to(tl.arange(0, COLS)[None, :], (ROWS, COLS))
    inside = live[:, None] & (col < width)
    at = row.to(tl.int64)[:, None] * width + col
    x = tl.load(source + at, mask=inside, other=0.0).to(tl.float32)
    scale = tl.load(rstd + row, mask=live, other=0.0)
    if CONTINUES:
        added = tl.load(before + at, mask=inside, other=0.0)
    else:
        added = tl.zeros((ROWS, COLS), tl.float32)
    along = tl.zeros((ROWS,), tl.float32)
    for e in tl.static_range(BUCKET):
        known = live & (e < edges)
        place = row.to(tl.int64) * stride + e
        logit = tl.load(logits + place, mask=known, other=0.0)
        p = tl.exp(logit - tl.load(lse + place, mask=known, other=float("inf")))
        g = tl.load(grads[e] + at, mask=inside & (e < edges), other=0.0).to(tl.float32)
        key = tl.load(keys + e * width + col, mask=inside & (e < edges), other=0.0)
        pull = p * (tl.sum(g * x, axis=1) - tl.load(delta + place, mask=known, other=0.0)) * scale
        along += pull * logit
        added += p[:, None] * g + pull[:, None] * key
        tl.store(pulls + place, pull, mask=known)
    added -= x * (along * scale / width)[:, None]
    tl.store(out + at, added.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["edges", "rows", "groups", "stride"])
def keys_kernel(
    source,
    pulls,
    partial,
    rows,
    width,
    edges,
    groups,
    stride,
    BUCKET: tl.constexpr,
    COLS: tl.constexpr,
):
    """``partial`` (groups, edges, width): each consumer's pulls times the source, over a share of the rows."""
    across = tl.cdiv(width, COLS)
    col = (tl.program_id(0) % across) * COLS + tl.arange(0, COLS)
    group = tl.program_id(0) // across
    span = tl.cast(width, tl.int64)
    sums = ()
    for _ in tl.static_range(BUCKET):
        sums = sums + (tl.zeros((COLS,), tl.float32),)  # noqa: RUF005
    for row in range(group, rows, groups):
        x = tl.load(source + row * span + col, mask=col < width, other=0.0).to(tl.float32)
        fresh = ()
        for e in tl.static_range(BUCKET):
            pull = tl.load(pulls + row * tl.cast(stride, tl.int64) + e, mask=e < edges, other=0.0)
            fresh = fresh + (sums[e] + pull * x,)  # noqa: RUF005
        sums = fresh
    for e in tl.static_range(BUCKET):
        to = partial + (group.to(tl.int64) * edges + e) * width + col
        tl.store(to, sums[e], mask=(col < width) & (e < edges))


@triton.jit(do_not_specialize=["rows"])
def scales_kernel(source, factors, rows, width, eps, ROWS: tl.constexpr, COLS: tl.constexpr):
    """The factor of every token's norm."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    col = tl.arange(0, COLS)
    inside = (row < rows)[:, None] & (col < width)[None, :]
    x = tl.load(source + row.to(tl.int64)[:, None] * width + col[None, :], mask=inside, other=0.0).to(tl.float32)
    tl.store(factors + row, tl.rsqrt(tl.sum(x * x, axis=1) / width + eps), mask=row < rows)


@triton.jit(do_not_specialize=["rows"])
def delta_kernel(grad, out, delta, rows, width, ROWS: tl.constexpr, COLS: tl.constexpr):
    """``<grad, out>`` of every token."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    col = tl.broadcast_to(tl.arange(0, COLS)[None, :], (ROWS, COLS))
    inside = (row < rows)[:, None] & (col < width)
    at = row.to(tl.int64)[:, None] * width + col
    product = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
    product *= tl.load(out + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(delta + row, tl.sum(product, axis=1), mask=row < rows)
