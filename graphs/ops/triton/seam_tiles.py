"""Pieces of the seam kernels: tiles of the state, and weights of a token from their logits, with their slopes.

A tile of the state is (BT, NP, BD): tokens, streams padded to a power of two, channels. Weights before they are
stored stand in ``slots`` (BT, P, Q), fp32, so that what one matrix product gives is in place: slot (i, j) of row
``i`` and source ``j``, rows 0 to n those of the width mix (the block's input first) and row n + 1 the column that
writes the block's output. With maps of all streams together (mHC) P counts rows and Q sources; with maps of each
stream alone (dynamic hyper-connections) it is the other way round. Slots that are not used are zero.
"""

import triton
import triton.language as tl


@triton.jit
def state_tile(
    y, g, write, per_token, tokens, live, columns, inside, D: tl.constexpr, N: tl.constexpr, NP: tl.constexpr
):
    """``X = write . (y, g)`` (BT, NP, BD) in fp32; ``write`` (T, n, n + 1), or static where ``per_token`` is zero."""
    streams = tl.arange(0, NP)
    here = live[:, None] & inside[None, :]
    weights = write + tokens[:, None] * per_token + streams[None, :] * (N + 1)
    used = live[:, None] & (streams[None, :] < N)
    source = tl.load(y + tokens[:, None] * D + columns[None, :], here, 0.0).to(tl.float32)
    x = tl.load(weights, used, 0.0)[:, :, None] * source[:, None, :]
    for j in tl.static_range(N):
        source = tl.load(g + (tokens[:, None] * N + j) * D + columns[None, :], here, 0.0).to(tl.float32)
        x += tl.load(weights + (j + 1), used, 0.0)[:, :, None] * source[:, None, :]
    return x


@triton.jit
def map_tile(
    maps,
    start,
    D: tl.constexpr,
    N: tl.constexpr,
    NP: tl.constexpr,
    BD: tl.constexpr,
    RP: tl.constexpr,
    EACH: tl.constexpr,
):
    """The maps (RP, d), or (RP, n d), at some channels: (BD, RP), or (NP BD, RP) for the streams side by side."""
    slot = tl.arange(0, RP)
    if EACH:
        columns = start + tl.arange(0, BD)
        tile = tl.load(maps + slot[None, :] * D + columns[:, None], (columns < D)[:, None], 0.0)
    else:
        place = tl.arange(0, NP * BD)
        stream = place // BD
        columns = start + place % BD
        used = (columns < D) & (stream < N)
        tile = tl.load(maps + slot[None, :] * (N * D) + (stream * D + columns)[:, None], used[:, None], 0.0)
    return tile


@triton.jit
def slots(P: tl.constexpr, Q: tl.constexpr, EACH: tl.constexpr):
    """Which row and which source each slot (1, P, Q) is of."""
    first = tl.arange(0, P)[None, :, None] + tl.zeros([1, P, Q], tl.int32)
    second = tl.arange(0, Q)[None, None, :] + tl.zeros([1, P, Q], tl.int32)
    if EACH:
        row = second
        source = first
    else:
        row = first
        source = second
    return row, source


@triton.jit
def _log_sum_exp(logits, on, AXIS: tl.constexpr):
    """Along an axis, zero where a line has no entry that is ``on``. The others are minus infinity."""
    top = tl.max(logits, AXIS, keep_dims=True)
    top = tl.where(top == float("-inf"), 0.0, top)
    total = tl.sum(tl.where(on, tl.exp(logits - top), 0.0), AXIS, keep_dims=True)
    return tl.where(total > 0, tl.log(tl.where(total > 0, total, 1.0)) + top, 0.0)


@triton.jit
def sinkhorn(logits, on, history, where_rows, where_columns, live, ITERATIONS: tl.constexpr, KEEP: tl.constexpr):
    """Logarithms of the doubly stochastic matrices of ``logits`` (BT, P, Q), rows along P, where ``on``.

    Columns, then rows, ``ITERATIONS`` times. With ``KEEP`` what each step took off goes to ``history``: the way back
    puts it on again, which gives the matrix of every step exactly, not that of the last one.
    """
    logits = tl.where(on, logits, float("-inf"))
    for step in range(ITERATIONS):
        off = _log_sum_exp(logits, on, 1)
        if KEEP:
            tl.store(history + where_columns + step * HISTORY, off, live)
        logits = tl.where(on, logits - off, float("-inf"))
        off = _log_sum_exp(logits, on, 2)
        if KEEP:
            tl.store(history + where_rows + step * HISTORY, off, live)
        logits = tl.where(on, logits - off, float("-inf"))
    return logits


@triton.jit
def sinkhorn_back(grad, logits, on, history, where_rows, where_columns, live, ITERATIONS: tl.constexpr):
    """The slope at the logits, of ``grad`` at the matrices; ``logits`` as :func:`sinkhorn` returns them.

    A step ``l - logsumexp(l)`` has the slope ``g - softmax sum(g)``, and after it ``exp(l)`` is that softmax.
    """
    weights = tl.where(on, tl.exp(logits), 0.0)
    slope = grad * weights
    for back in range(ITERATIONS):
        step = ITERATIONS - 1 - back
        slope -= weights * tl.sum(slope, 2, keep_dims=True)
        logits += tl.load(history + where_rows + step * HISTORY, live, 0.0)
        weights = tl.where(on, tl.exp(logits), 0.0)
        slope -= weights * tl.sum(slope, 1, keep_dims=True)
        logits += tl.load(history + where_columns + step * HISTORY, live, 0.0)
        weights = tl.where(on, tl.exp(logits), 0.0)
    return tl.where(on, slope, 0.0)


HISTORY = tl.constexpr(32)  # numbers a token and step: 16 rows, then 16 sources


@triton.jit
def _tanh(x):
    # By exp(-2|x|), which never overflows; Triton's own tanh needs a library of the device's.
    small = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - small) / (1.0 + small)
    return tl.where(x < 0, -size, size)


@triton.jit
def _sigmoid(x):
    small = tl.exp(-tl.abs(x))
    return tl.where(x < 0, small, 1.0) / (1.0 + small)


@triton.jit
def history_places(tokens, P: tl.constexpr, Q: tl.constexpr, ITERATIONS: tl.constexpr):
    """Where a token's history begins: of rows (BT, P, 1), of sources (BT, 1, Q)."""
    start = tokens[:, None, None] * ITERATIONS * HISTORY
    return start + tl.arange(0, P)[None, :, None], start + 16 + tl.arange(0, Q)[None, None, :]


@triton.jit
def weights_of(
    logits, base, gain, history, tokens, live, ITERATIONS: tl.constexpr,
    N: tl.constexpr, P: tl.constexpr, Q: tl.constexpr, KIND: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Weights (BT, P, Q) from normalised logits. ``base`` and ``gain`` (P, Q) are static.

    KIND "mhc": of ``a = base + gain logits``, sigmoid in row 0, twice the sigmoid in row n + 1, Sinkhorn between;
    "tanh" and "linear": ``base + gain f(logits)``. The second result is the matrices' logarithm, or f.
    """
    if KIND == "mhc":
        row, source = slots(P, Q, False)
        raised = base[None, :, :] + gain[None, :, :] * logits
        on = (row >= 1) & (row <= N) & (source < N)
        rows, columns = history_places(tokens, P, Q, ITERATIONS)
        inner = sinkhorn(raised, on, history, rows, columns, live[:, None, None], ITERATIONS, KEEP)
        open_ = tl.where(row == 0, 1.0, 2.0) * _sigmoid(raised)
        weights = tl.where(on, tl.exp(inner), open_)
    else:
        inner = _tanh(logits) if KIND == "tanh" else logits
        weights = base[None, :, :] + gain[None, :, :] * inner
    return weights, inner


@triton.jit
def weights_back(
    grad, weights, inner, base, gain, history, tokens, live, ITERATIONS: tl.constexpr,
    N: tl.constexpr, P: tl.constexpr, Q: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """From ``grad`` at the weights: the slope at the normalised logits divided by ``gain``, and that at ``base``."""
    if KIND == "mhc":
        row, source = slots(P, Q, False)
        on = (row >= 1) & (row <= N) & (source < N)
        rows, columns = history_places(tokens, P, Q, ITERATIONS)
        inside = sinkhorn_back(grad, inner, on, history, rows, columns, live[:, None, None], ITERATIONS)
        top = tl.where(row == 0, 1.0, 2.0)
        slope = tl.where(on, inside, grad * weights * (1.0 - weights / top))
        at_base = slope
    else:
        slope = grad * (1.0 - inner * inner) if KIND == "tanh" else grad
        at_base = grad
    return slope, at_base
