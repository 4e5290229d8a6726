"""The kernels of mix, gather and spread. Tensors are rows of ``width`` channels; what all tokens share runs flat, as
one row of every element.

Lists of tensors arrive as tuples of pointers, and the loops over them are unrolled: the loads of one tile are then
independent, and enough bytes are on their way. Offsets are int64 from the row up; ``WIDE`` makes them int64 along a
row as well. A lane outside its tensor loads zero, and so does a weight outside its matrix, so that neither can bring
in what was not meant (0 * NaN).
"""

import triton
import triton.language as tl


@triton.jit
def mixed(
    sources,
    weight,
    before,
    row,
    col,
    at,
    rows,
    width,
    k,
    w_row,
    w_out,
    w_in,
    M: tl.constexpr,
    BUCKET: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    PER_TOKEN: tl.constexpr,
    PER_CHANNEL: tl.constexpr,
    CONTINUES: tl.constexpr,
):
    """M tiles of fp32 sums. Every source is loaded once; the sums stay in registers."""
    inside = (row < rows)[:, None] & (col < width)[None, :]
    across = tl.broadcast_to(col[None, :], (ROWS, COLS))  # a tile like the others: no exchange between lanes
    sums = ()
    for i in tl.static_range(M):
        if CONTINUES:
            sums = sums + (tl.load(before[i] + at, mask=inside, other=0.0),)  # noqa: RUF005
        else:
            sums = sums + (tl.zeros((ROWS, COLS), tl.float32),)  # noqa: RUF005
    for j in tl.static_range(BUCKET):
        x = tl.load(sources[j] + at, mask=inside & (j < k), other=0.0).to(tl.float32)
        fresh = ()
        for i in tl.static_range(M):
            place = weight + i * w_out + j * w_in
            if PER_TOKEN:
                w = tl.load(place + row.to(tl.int64) * w_row, mask=(row < rows) & (j < k), other=0.0)[:, None]
            elif PER_CHANNEL:
                w = tl.load(place + across, mask=inside & (j < k), other=0.0)
            else:
                w = tl.load(place, mask=j < k, other=0.0)
            fresh = fresh + (sums[i] + w.to(tl.float32) * x,)  # noqa: RUF005
        sums = fresh
    return sums


@triton.jit(do_not_specialize=["k", "rows"])
def mix_kernel(
    sources,
    weight,
    outs,
    before,
    gain,
    rstd,
    raws,
    rows,
    width,
    k,
    w_row,
    w_out,
    w_in,
    eps,
    M: tl.constexpr,
    BUCKET: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    PER_TOKEN: tl.constexpr,
    PER_CHANNEL: tl.constexpr,
    CONTINUES: tl.constexpr,
    NORM: tl.constexpr,
    KEEP: tl.constexpr,
    WIDE: tl.constexpr,
):
    """One tile of all outputs. With a norm the tile is as wide as a row; ``KEEP`` stores the sums before it."""
    across = tl.cdiv(width, COLS)
    start = tl.program_id(0) % across
    if WIDE:
        start = start.to(tl.int64)
    row = (tl.program_id(0) // across) * ROWS + tl.arange(0, ROWS)
    col = start * COLS + tl.arange(0, COLS)
    at = row.to(tl.int64)[:, None] * width + col[None, :]
    sums = mixed(
        sources,
        weight,
        before,
        row,
        col,
        at,
        rows,
        width,
        k,
        w_row,
        w_out,
        w_in,
        M,
        BUCKET,
        ROWS,
        COLS,
        PER_TOKEN,
        PER_CHANNEL,
        CONTINUES,
    )
    inside = (row < rows)[:, None] & (col < width)[None, :]
    if NORM:
        channels = tl.broadcast_to(col[None, :], (ROWS, COLS))
        learned = tl.load(gain + channels, mask=inside, other=0.0).to(tl.float32)
    for i in tl.static_range(M):
        y = sums[i]
        if NORM:
            if KEEP:
                tl.store(raws[i] + at, y, mask=inside)
            scale = tl.rsqrt(tl.sum(y * y, axis=1) / width + eps)
            tl.store(rstd + i * rows + row, scale, mask=row < rows)
            y = y * scale[:, None] * learned
        tl.store(outs[i] + at, y.to(outs[i].dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["edges", "rows", "across"])
def gather_kernel(
    grads,
    source,
    weight,
    total,
    before,
    dots,
    size,
    rows,
    width,
    edges,
    across,
    w_row,
    BUCKET: tl.constexpr,
    PLACES: tl.constexpr,
    ROWS: tl.constexpr,
    REPS: tl.constexpr,
    SPAN: tl.constexpr,
    DOTS: tl.constexpr,
    TOTAL: tl.constexpr,
    CONTINUES: tl.constexpr,
):
    """The weighted sum of the rows of ``grads``, and their products with ``source``: either, or both.

    A warp has one row of REPS spans, as many as its lanes load at once: a product is added up within lanes, then
    across them, and no warp waits for another. The products of a warp are put in PLACES lanes (a power of two) and
    stored together at the end: a load would not pass a store. ``dots`` has the shape (rows, across, edges).
    """
    start = tl.program_id(0) % across
    row = (tl.program_id(0) // across) * ROWS + tl.arange(0, ROWS)
    live = row < rows
    place = tl.arange(0, PLACES)[None, :]
    found = tl.zeros((ROWS, PLACES), tl.float32)
    ats, insides, added, xs = (), (), (), ()
    for r in tl.static_range(REPS):
        col = (start * REPS + r) * SPAN + tl.arange(0, SPAN)[None, :]
        at = (row.to(tl.int64) * width)[:, None] + col
        inside = live[:, None] & (col < width) & (at < size)
        ats, insides = ats + (at,), insides + (inside,)  # noqa: RUF005
        if CONTINUES:
            added = added + (tl.load(before + at, mask=inside, other=0.0),)  # noqa: RUF005
        else:
            added = added + (tl.zeros((ROWS, SPAN), tl.float32),)  # noqa: RUF005
        if DOTS:
            xs = xs + (tl.load(source + at, mask=inside, other=0.0).to(tl.float32),)  # noqa: RUF005
    for e in tl.static_range(BUCKET):
        w = tl.load(weight + row.to(tl.int64) * w_row + e, mask=live & (e < edges), other=0.0).to(tl.float32)
        fresh = ()
        product = tl.zeros((ROWS, SPAN), tl.float32)
        for r in tl.static_range(REPS):
            g = tl.load(grads[e] + ats[r], mask=insides[r] & (e < edges), other=0.0).to(tl.float32)
            fresh = fresh + (added[r] + w[:, None] * g,)  # noqa: RUF005
            if DOTS:
                product += g * xs[r]
        added = fresh
        if DOTS:
            found = tl.where(place == e, tl.sum(product, axis=1)[:, None], found)
    if TOTAL:
        for r in tl.static_range(REPS):
            tl.store(total + ats[r], added[r].to(total.dtype.element_ty), mask=insides[r])
    if DOTS:
        to = dots + ((row.to(tl.int64) * across + start) * edges)[:, None] + place
        tl.store(to, found, mask=live[:, None] & (place < edges))


@triton.jit(do_not_specialize=["rows", "groups"])
def spread_kernel(
    grads,
    sources,
    weight,
    outs,
    dots,
    rows,
    width,
    groups,
    w_row,
    w_out,
    w_in,
    M: tl.constexpr,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    VEC: tl.constexpr,
    WIDE: tl.constexpr,
    WANTED: tl.constexpr,
    LEARNED: tl.constexpr,
):
    """All M gradients of a tile, then source after source: its gradient is written, its M products are kept.

    Bit j of ``WANTED`` and of ``LEARNED`` says if source j has the one and the other; products it has not are zero.

    ``groups`` programs share a row. Each keeps one partial product per pair and lane (VEC elements of a lane are added
    on the spot, without talking to others), and adds the lanes up once, at its end: ``dots`` (rows, groups, M, K).
    """
    group = tl.program_id(0) % groups
    row = (tl.program_id(0) // groups) * ROWS + tl.arange(0, ROWS)
    live = row < rows
    partial = ()
    for _ in tl.static_range(K * M):
        partial = partial + (tl.zeros((ROWS, LANES), tl.float32),)  # noqa: RUF005
    place = tl.arange(0, LANES)[:, None] * VEC + tl.arange(0, VEC)[None, :]
    first = group * (LANES * VEC)
    step = groups * (LANES * VEC)
    if WIDE:
        first = first.to(tl.int64)
        step = step.to(tl.int64)
    for start in range(first, width, step):
        col = start + place
        inside = live[:, None, None] & (col < width)[None, :, :]
        at = row.to(tl.int64)[:, None, None] * width + col[None, :, :]
        held = ()
        for i in tl.static_range(M):
            held = held + (tl.load(grads[i] + at, mask=inside, other=0.0),)  # noqa: RUF005
        fresh = ()
        for j in tl.static_range(K):
            if (LEARNED >> j) & 1:
                x = tl.load(sources[j] + at, mask=inside, other=0.0).to(tl.float32)
            added = tl.zeros((ROWS, LANES, VEC), tl.float32)
            for i in tl.static_range(M):
                g = held[i].to(tl.float32)
                if (WANTED >> j) & 1:
                    w = tl.load(weight + row.to(tl.int64) * w_row + i * w_out + j * w_in, mask=live, other=0.0)
                    added += w.to(tl.float32)[:, None, None] * g
                if (LEARNED >> j) & 1:
                    fresh = fresh + (partial[j * M + i] + tl.sum(g * x, axis=2),)  # noqa: RUF005
                else:
                    fresh = fresh + (partial[j * M + i],)  # noqa: RUF005
            if (WANTED >> j) & 1:
                tl.store(outs[j] + at, added.to(outs[j].dtype.element_ty), mask=inside)
        partial = fresh
    for j in tl.static_range(K):
        for i in tl.static_range(M):
            to = dots + (row.to(tl.int64) * groups + group) * (M * K) + i * K + j
            tl.store(to, tl.sum(partial[j * M + i], axis=1), mask=live)


@triton.jit(do_not_specialize=["rows", "groups"])
def channels_kernel(
    grads,
    sources,
    weight,
    outs,
    before,
    dots,
    rows,
    width,
    groups,
    w_out,
    w_in,
    M: tl.constexpr,
    K: tl.constexpr,
    COLS: tl.constexpr,
    WANTED: tl.constexpr,
    LEARNED: tl.constexpr,
    CONTINUES: tl.constexpr,
):
    """:func:`spread_kernel` with a weight per channel: a program keeps its channels and walks down the rows.

    ``dots`` has the shape (groups, M, K, width). Of more gradients than a program holds the sums go on from
    ``before``.
    """
    across = tl.cdiv(width, COLS)
    col = (tl.program_id(0) % across) * COLS + tl.arange(0, COLS)
    group = tl.program_id(0) // across
    inside = col < width
    span = tl.cast(width, tl.int64)
    partial = ()
    for _ in tl.static_range(K * M):
        partial = partial + (tl.zeros((COLS,), tl.float32),)  # noqa: RUF005
    for row in range(group, rows, groups):
        at = row * span + col
        held = ()
        for i in tl.static_range(M):
            held = held + (tl.load(grads[i] + at, mask=inside, other=0.0),)  # noqa: RUF005
        fresh = ()
        for j in tl.static_range(K):
            if (LEARNED >> j) & 1:
                x = tl.load(sources[j] + at, mask=inside, other=0.0).to(tl.float32)
            if CONTINUES and (WANTED >> j) & 1:
                added = tl.load(before[j] + at, mask=inside, other=0.0)
            else:
                added = tl.zeros((COLS,), tl.float32)
            for i in tl.static_range(M):
                g = held[i].to(tl.float32)
                if (WANTED >> j) & 1:
                    w = tl.load(weight + i * w_out + j * w_in + col, mask=inside, other=0.0)
                    added += w.to(tl.float32) * g
                if (LEARNED >> j) & 1:
                    fresh = fresh + (partial[j * M + i] + g * x,)  # noqa: RUF005
                else:
                    fresh = fresh + (partial[j * M + i],)  # noqa: RUF005
            if (WANTED >> j) & 1:
                tl.store(outs[j] + at, added.to(outs[j].dtype.element_ty), mask=inside)
        partial = fresh
    for j in tl.static_range(K):
        for i in tl.static_range(M):
            to = dots + (group.to(tl.int64) * (M * K) + i * K + j) * width + col
            tl.store(to, partial[j * M + i], mask=inside)


@triton.jit(do_not_specialize=["k", "rows", "groups"])
def norm_kernel(
    grads,
    sources,
    weight,
    gain,
    rstd,
    outs,
    partial,
    rows,
    width,
    k,
    groups,
    w_row,
    w_out,
    w_in,
    M: tl.constexpr,
    BUCKET: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    PER_TOKEN: tl.constexpr,
    PER_CHANNEL: tl.constexpr,
):
    """Through the RMSNorm of M mixed outputs, which are made again from their sources; ``partial`` (groups, width)."""
    col = tl.arange(0, COLS)
    channels = tl.broadcast_to(col[None, :], (ROWS, COLS))
    scale = tl.load(gain + channels, mask=channels < width, other=0.0).to(tl.float32)
    learned = tl.zeros((ROWS, COLS), tl.float32)
    for first in range(tl.program_id(0) * ROWS, rows, groups * ROWS):
        row = first + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & (col < width)[None, :]
        at = row.to(tl.int64)[:, None] * width + col[None, :]
        sums = mixed(
            sources,
            weight,
            sources,
            row,
            col,
            at,
            rows,
            width,
            k,
            w_row,
            w_out,
            w_in,
            M,
            BUCKET,
            ROWS,
            COLS,
            PER_TOKEN,
            PER_CHANNEL,
            False,
        )
        for i in tl.static_range(M):
            g = tl.load(grads[i] + at, mask=inside, other=0.0).to(tl.float32)
            r = tl.load(rstd + i * rows + row, mask=row < rows, other=0.0)[:, None]
            unit = sums[i] * r
            mean = tl.sum(g * scale * unit, axis=1) / width
            tl.store(outs[i] + at, ((g * scale - unit * mean[:, None]) * r).to(outs[i].dtype.element_ty), mask=inside)
            learned += g * unit
    tl.store(partial + tl.program_id(0).to(tl.int64) * width + col, tl.sum(learned, axis=0), mask=col < width)
