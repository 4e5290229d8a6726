"""The seam's forward kernel: 16 tokens at a time, twice over their channels.

The first turn reads y and the streams, forms the state and multiplies it by the maps; the weights of the tokens
follow in registers; the second turn reads the same rows, which are then in the second-level cache, and writes the
block's input and the streams. With a norm of the block's input its squares are added up in the second turn, and it is
written in a third, formed again: rounded once. From the memory that is 2 n + 2 passes. The token's whole row is not
held in registers between the turns: the maps of mHC, n d (n^2 + 2 n) numbers, must be shared by several tokens, or
reading them costs more than the row.
"""

import triton
import triton.language as tl

from graphs.ops.triton.seam_tiles import map_tile, slots, state_tile, weights_of

MIN_NORM = tl.constexpr(1e-6)  # graphs.rule_tensors.MIN_NORM


@triton.jit
def seam_forward(
    y, g, write, per_token, maps, base, gain, fixed, history,
    block_input, streams, width, later, raw, scale, mean, norm, rstd,
    T, D: tl.constexpr, ITERATIONS: tl.constexpr,
    N: tl.constexpr, NP: tl.constexpr, P: tl.constexpr, Q: tl.constexpr, RP: tl.constexpr, KIND: tl.constexpr,
    EACH: tl.constexpr, LAYER: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
    NORMED: tl.constexpr,
):  # fmt: skip
    """y (T, d), g (T, n, d), maps (RP, d) or (RP, n d) fp32, base and gain (P, Q), fixed (n, n + 1): the later mix's.

    Writes block_input (T, d), streams (T, n, d), width (T, n + 1, n), later (T, n, n + 1), and for the backward pass
    raw (T, P Q), scale and mean (T, NP). With ``NORMED`` the block's input is RMS-normalised with the gain ``norm``
    (d,), and rstd (T) has its factors. A row of weights fits in registers for n up to 8.
    """
    tokens = (tl.program_id(0) * BT + tl.arange(0, BT)).to(tl.int64)
    live = tokens < T
    stream = tl.arange(0, NP)
    product = tl.zeros([BT * NP if EACH else BT, RP], tl.float32)
    center = tl.zeros([BT, NP], tl.float32)
    spread = tl.zeros([BT, NP], tl.float32)
    for start in range(0, D, BD):
        columns = start + tl.arange(0, BD)
        inside = columns < D
        x = state_tile(y, g, write, per_token, tokens, live, columns, inside, D, N, NP)
        tile = map_tile(maps, start, D, N, NP, BD, RP, EACH)
        rows = tl.reshape(x, [BT * NP, BD] if EACH else [BT, NP * BD])
        product = tl.dot(rows, tile, product, input_precision=PRECISION)
        if LAYER:
            # Means and squared distances of pieces joined: no difference of large squares.
            count = tl.minimum(D - start, BD).to(tl.float32)
            middle = tl.sum(x, 2) / count
            apart = tl.where(inside[None, None, :], x - middle[:, :, None], 0.0)
            step = middle - center
            whole = start + count
            spread += tl.sum(apart * apart, 2) + step * step * (start * count / whole)
            center += step * (count / whole)
        else:
            spread += tl.sum(x * x, 2)
    if EACH:
        factors = tl.rsqrt(spread / D + MIN_NORM)
    else:
        factors = tl.rsqrt(tl.sum(spread, 1, keep_dims=True) / (N * D) + MIN_NORM) + tl.zeros([BT, NP], tl.float32)
    product = tl.reshape(product, [BT, P, Q])
    if EACH:
        logits = product * factors[:, :, None]
    else:
        logits = product * factors[:, None, :]
    first = tl.arange(0, P)
    second = tl.arange(0, Q)
    flat = first[:, None] * Q + second[None, :]
    tl.store(raw + tokens[:, None, None] * (P * Q) + flat[None, :, :], product, live[:, None, None])
    tl.store(scale + tokens[:, None] * NP + stream[None, :], factors, live[:, None])
    if LAYER:
        tl.store(mean + tokens[:, None] * NP + stream[None, :], center, live[:, None])

    weights, _ = weights_of(
        logits, tl.load(base + flat), tl.load(gain + flat), history, tokens, live, ITERATIONS, N, P, Q, KIND, False
    )
    row, source = slots(P, Q, EACH)
    token = tokens[:, None, None]
    used = live[:, None, None] & (source < N)
    tl.store(width + token * ((N + 1) * N) + row * N + source, weights, used & (row <= N))
    for j in tl.static_range(N):
        value = tl.load(fixed + stream * (N + 1) + (j + 1), stream < N, 0.0)[None, :] + tl.zeros([BT, NP], tl.float32)
        place = later + tokens[:, None] * (N * (N + 1)) + stream[None, :] * (N + 1) + (j + 1)
        tl.store(place, value, live[:, None] & (stream < N)[None, :])
    tl.store(later + token * (N * (N + 1)) + source * (N + 1), weights, used & (row == N + 1))
    tl.debug_barrier()  # the second turn reads the weights as other threads wrote them

    squares = tl.zeros([BT], tl.float32)
    for start in range(0, D, BD):
        columns = start + tl.arange(0, BD)
        inside = columns < D
        x = state_tile(y, g, write, per_token, tokens, live, columns, inside, D, N, NP)
        here = live[:, None] & inside[None, :]
        for i in tl.static_range(N + 1):
            place = width + tokens[:, None] * ((N + 1) * N) + i * N + stream[None, :]
            weight = tl.load(place, live[:, None] & (stream < N)[None, :], 0.0)
            out = tl.sum(weight[:, :, None] * x, 1)
            if i == 0:
                where = block_input + tokens[:, None] * D + columns[None, :]
            else:
                where = streams + (tokens[:, None] * N + (i - 1)) * D + columns[None, :]
            if NORMED and i == 0:
                squares += tl.sum(out * out, 1)
            else:
                tl.store(where, out.to(where.dtype.element_ty), here)
    if NORMED:
        factor = tl.rsqrt(squares / D + MIN_NORM)
        tl.store(rstd + tokens, factor, live)
        place = width + tokens[:, None] * ((N + 1) * N) + stream[None, :]
        weight = tl.load(place, live[:, None] & (stream < N)[None, :], 0.0)
        for start in range(0, D, BD):
            columns = start + tl.arange(0, BD)
            inside = columns < D
            x = state_tile(y, g, write, per_token, tokens, live, columns, inside, D, N, NP)
            learned = tl.load(norm + columns, inside, 0.0)
            out = tl.sum(weight[:, :, None] * x, 1) * factor[:, None] * learned[None, :]
            where = block_input + tokens[:, None] * D + columns[None, :]
            tl.store(where, out.to(where.dtype.element_ty), live[:, None] & inside[None, :])
