"""The seam's backward kernels: the state is formed again from what came in, 16 tokens at a time.

``seam_backward`` goes twice over the channels: first the slopes at the width mix's weights, then, through the tokens'
weights in registers, those of all that came in: 3 n + 3 passes over the memory, the second turn from the cache.
``seam_maps`` sums the slope of the maps over the tokens: n + 1 passes more. Where all channels of all streams are one
tile, ``seam_backward_rows`` holds that sum as well, and there are no passes more. Sums over tokens are left in parts
and added in a fixed order: runs are equal to the bit.
"""

import triton
import triton.language as tl

from graphs.ops.triton.seam_tiles import map_tile, slots, state_tile, weights_back, weights_of


@triton.jit
def through_seam(
    group,
    y, g, write, per_token, maps, base, gain, history, width, raw, scale, mean,
    grad_input, grad_streams, grad_later,
    to_y, to_g, to_write, to_base, to_gain, norm, rstd, to_norm,
    T, D: tl.constexpr, ITERATIONS: tl.constexpr,
    N: tl.constexpr, NP: tl.constexpr, P: tl.constexpr, Q: tl.constexpr, RP: tl.constexpr, KIND: tl.constexpr,
    EACH: tl.constexpr, LAYER: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
    NORMED: tl.constexpr,
):  # fmt: skip
    """All of ``BT`` tokens but the maps' slope: what that needs, the slopes at the products (BT NP or BT, RP).

    Arguments as in ``seam_forward``; ``to_write`` (T, n, n + 1), ``to_base`` and ``to_gain`` (groups, P, Q), and
    ``to_norm`` (groups, d).

    With r the factor of the norm, u what it normalises and g the gradient behind it times the gain, the gradient at u
    is ``r g - c u`` with ``c = r^3 <g, u> / d``; its products with the state are made of those of g and u.
    """
    tokens = (group * BT + tl.arange(0, BT)).to(tl.int64)
    live = tokens < T
    stream = tl.arange(0, NP)
    used = live[:, None] & (stream < N)[None, :]
    row, source = slots(P, Q, EACH)
    token = tokens[:, None, None]
    on = live[:, None, None] & (source < N)
    grad = tl.load(grad_later + token * (N * (N + 1)) + source * (N + 1), on & (row == N + 1), 0.0)
    factors = tl.zeros([BT], tl.float32)
    reading = tl.zeros([BT, NP], tl.float32)
    both = tl.zeros([BT], tl.float32)
    along = tl.zeros([BT, NP], tl.float32)
    if NORMED:
        factors += tl.load(rstd + tokens, live, 0.0)
        reading += tl.load(width + tokens[:, None] * ((N + 1) * N) + stream[None, :], used, 0.0)
    for start in range(0, D, BD):
        columns = start + tl.arange(0, BD)
        inside = columns < D
        here = live[:, None] & inside[None, :]
        x = state_tile(y, g, write, per_token, tokens, live, columns, inside, D, N, NP)
        for i in tl.static_range(N + 1):
            if i == 0:
                given = tl.load(grad_input + tokens[:, None] * D + columns[None, :], here, 0.0).to(tl.float32)
                if NORMED:
                    before = tl.sum(reading[:, :, None] * x, 1)
                    own = tl.sum(given * before * factors[:, None], 0)
                    tl.store(to_norm + tl.cast(group, tl.int64) * D + columns, own, inside)
                    given *= tl.load(norm + columns, inside, 0.0)[None, :]
                    both += tl.sum(given * before, 1)
                    along += tl.sum(x * before[:, None, :], 2)
                    given *= factors[:, None]
            else:
                given = tl.load(grad_streams + (tokens[:, None] * N + (i - 1)) * D + columns[None, :], here, 0.0)
            dots = tl.sum(x * given.to(tl.float32)[:, None, :], 2)
            if EACH:
                grad += tl.where(row == i, dots[:, :, None], 0.0)
            else:
                grad += tl.where(row == i, dots[:, None, :], 0.0)

    bent = factors * factors * factors * both / D
    if NORMED:
        dots = along * bent[:, None]
        if EACH:
            grad -= tl.where(row == 0, dots[:, :, None], 0.0)
        else:
            grad -= tl.where(row == 0, dots[:, None, :], 0.0)
    first = tl.arange(0, P)
    second = tl.arange(0, Q)
    flat = first[:, None] * Q + second[None, :]
    slot = token * (P * Q) + flat[None, :, :]
    product = tl.load(raw + slot, live[:, None, None], 0.0)
    factor = tl.load(scale + tokens[:, None] * NP + stream[None, :], live[:, None], 0.0)
    wide = factor[:, :, None] if EACH else factor[:, None, :]
    logits = product * wide
    static, gains = tl.load(base + flat), tl.load(gain + flat)
    weights, inner = weights_of(logits, static, gains, history, tokens, live, ITERATIONS, N, P, Q, KIND, True)
    tl.debug_barrier()  # the history is read back by other threads than wrote it
    slope, at_base = weights_back(grad, weights, inner, static, gains, history, tokens, live, ITERATIONS, N, P, Q, KIND)
    at_gain = at_base * (logits if KIND == "mhc" else inner)
    part = group * (P * Q) + flat
    tl.store(to_base + part, tl.sum(tl.where(live[:, None, None], at_base, 0.0), 0))
    tl.store(to_gain + part, tl.sum(tl.where(live[:, None, None], at_gain, 0.0), 0))
    slope = slope * gains[None, :, :]
    # r = (s + MIN_NORM)^-1/2 with s the mean square of D (or n D) numbers: dr / dx = - r^3 x / D.
    if EACH:
        bend = tl.sum(slope * product, 2) * factor * factor * factor / -D
    else:
        whole = tl.sum(tl.sum(slope * product, 2), 1)
        bend = whole[:, None] * factor * factor * factor / -(N * D)
    slope = slope * wide
    middle = tl.zeros([BT, NP], tl.float32)
    if LAYER:
        middle = tl.load(mean + tokens[:, None] * NP + stream[None, :], live[:, None], 0.0)
    left = tl.reshape(slope, [BT * NP if EACH else BT, RP])

    column = tl.arange(0, NP)
    slopes = tl.zeros([BT, NP, NP], tl.float32)
    of_y = tl.zeros([BT, NP], tl.float32)
    for start in range(0, D, BD):
        columns = start + tl.arange(0, BD)
        inside = columns < D
        here = live[:, None] & inside[None, :]
        x = state_tile(y, g, write, per_token, tokens, live, columns, inside, D, N, NP)
        tile = map_tile(maps, start, D, N, NP, BD, RP, EACH)
        through = tl.dot(left, tl.trans(tile), input_precision=PRECISION)
        into = tl.reshape(through, [BT, NP, BD]) + bend[:, :, None] * (x - middle[:, :, None])
        for i in tl.static_range(N + 1):
            if i == 0:
                given = tl.load(grad_input + tokens[:, None] * D + columns[None, :], here, 0.0).to(tl.float32)
                if NORMED:
                    given *= tl.load(norm + columns, inside, 0.0)[None, :] * factors[:, None]
                    given -= tl.sum(reading[:, :, None] * x, 1) * bent[:, None]
            else:
                given = tl.load(grad_streams + (tokens[:, None] * N + (i - 1)) * D + columns[None, :], here, 0.0)
            weight = tl.load(width + tokens[:, None] * ((N + 1) * N) + i * N + stream[None, :], used, 0.0)
            into += weight[:, :, None] * given.to(tl.float32)[:, None, :]
        for j in tl.static_range(N + 1):
            if j == 0:
                place, target = y + tokens[:, None] * D, to_y + tokens[:, None] * D
            else:
                place = g + (tokens[:, None] * N + (j - 1)) * D
                target = to_g + (tokens[:, None] * N + (j - 1)) * D
            held = tl.load(place + columns[None, :], here, 0.0).to(tl.float32)
            weight = tl.load(write + tokens[:, None] * per_token + stream[None, :] * (N + 1) + j, used, 0.0)
            out = tl.sum(weight[:, :, None] * into, 1)
            tl.store(target + columns[None, :], out.to(target.dtype.element_ty), here)
            dots = tl.sum(into * held[:, None, :], 2)
            if j == 0:
                of_y += dots
            else:
                slopes += tl.where(column[None, None, :] == j - 1, dots[:, :, None], 0.0)
    place = to_write + tokens[:, None] * (N * (N + 1)) + stream[None, :] * (N + 1)
    tl.store(place, of_y, used)
    tl.store(place[:, :, None] + 1 + column[None, None, :], slopes, used[:, :, None] & (column < N)[None, None, :])
    return left


@triton.jit
def seam_backward(
    y, g, write, per_token, maps, base, gain, history, width, raw, scale, mean,
    grad_input, grad_streams, grad_later, to_y, to_g, to_write, to_base, to_gain, norm, rstd, to_norm,
    to_raw, T, D: tl.constexpr, ITERATIONS: tl.constexpr,
    N: tl.constexpr, NP: tl.constexpr, P: tl.constexpr, Q: tl.constexpr, RP: tl.constexpr, KIND: tl.constexpr,
    EACH: tl.constexpr, LAYER: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
    NORMED: tl.constexpr,
):  # fmt: skip
    """A group of tokens a program; to_raw (T, P Q) is what ``seam_maps`` takes."""
    group = tl.program_id(0)
    left = through_seam(
        group, y, g, write, per_token, maps, base, gain, history, width, raw, scale, mean,
        grad_input, grad_streams, grad_later, to_y, to_g, to_write, to_base, to_gain, norm, rstd, to_norm,
        T, D, ITERATIONS, N, NP, P, Q, RP, KIND, EACH, LAYER, BT, BD, PRECISION, NORMED,
    )  # fmt: skip
    line = tl.arange(0, BT * NP if EACH else BT)
    slot = tl.arange(0, RP)
    token = group.to(tl.int64) * BT + (line // NP if EACH else line)
    place = group.to(tl.int64) * (BT * P * Q) + line[:, None] * RP + slot[None, :]
    tl.store(to_raw + place, left, (token < T)[:, None])


@triton.jit
def seam_backward_rows(
    y, g, write, per_token, maps, base, gain, history, width, raw, scale, mean,
    grad_input, grad_streams, grad_later, to_y, to_g, to_write, to_base, to_gain, norm, rstd, to_norm,
    to_maps, T, GROUPS, D: tl.constexpr, ITERATIONS: tl.constexpr,
    N: tl.constexpr, NP: tl.constexpr, P: tl.constexpr, Q: tl.constexpr, RP: tl.constexpr, KIND: tl.constexpr,
    EACH: tl.constexpr, LAYER: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
    NORMED: tl.constexpr,
):  # fmt: skip
    """``GROUPS`` groups a program, a tile as wide as a row, and the maps' slope: to_maps (programs, RP, d or n d)."""
    slot = tl.arange(0, RP)
    columns = tl.arange(0, BD)
    inside = columns < D
    total = tl.zeros([RP, BD if EACH else NP * BD], tl.float32)
    group = tl.program_id(0) * GROUPS
    last = tl.minimum(group + GROUPS, tl.cdiv(T, BT))
    while group < last:
        left = through_seam(
            group, y, g, write, per_token, maps, base, gain, history, width, raw, scale, mean,
            grad_input, grad_streams, grad_later, to_y, to_g, to_write, to_base, to_gain, norm, rstd, to_norm,
            T, D, ITERATIONS, N, NP, P, Q, RP, KIND, EACH, LAYER, BT, BD, PRECISION, NORMED,
        )  # fmt: skip
        tokens = (group * BT + tl.arange(0, BT)).to(tl.int64)
        x = state_tile(y, g, write, per_token, tokens, tokens < T, columns, inside, D, N, NP)
        rows = tl.reshape(x, [BT * NP, BD] if EACH else [BT, NP * BD])
        total = tl.dot(tl.trans(left), rows, total, input_precision=PRECISION)
        group += 1
    if EACH:
        where = (tl.program_id(0) * RP + slot[:, None]) * D + columns[None, :]
        tl.store(to_maps + where, total, inside[None, :])
    else:
        place = tl.arange(0, NP * BD)
        used = (place % BD < D) & (place // BD < N)
        where = (tl.program_id(0) * RP + slot[:, None]) * (N * D) + (place // BD * D + place % BD)[None, :]
        tl.store(to_maps + where, total, used[None, :])


@triton.jit
def seam_maps(
    y, g, write, per_token, to_raw, to_maps, T, CHUNK, D: tl.constexpr,
    N: tl.constexpr, NP: tl.constexpr, RP: tl.constexpr, EACH: tl.constexpr,
    BT: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The maps' slope: to_maps (parts, RP, d), or (parts, RP, n, d), each part of ``CHUNK`` tokens."""
    columns = tl.program_id(0) * BD + tl.arange(0, BD)
    inside = columns < D
    part = tl.program_id(1)
    slot = tl.arange(0, RP)
    total = tl.zeros([RP, BD if EACH else NP * BD], tl.float32)
    start = 0
    while start < CHUNK:
        tokens = (part * CHUNK + start + tl.arange(0, BT)).to(tl.int64)
        live = (tokens < T) & (start + tl.arange(0, BT) < CHUNK)
        x = state_tile(y, g, write, per_token, tokens, live, columns, inside, D, N, NP)
        if EACH:
            line = tl.arange(0, BT * NP)
            owner = (part * CHUNK + start + line // NP).to(tl.int64)
            good = (owner < T) & (start + line // NP < CHUNK) & (line % NP < N)
            left = tl.load(to_raw + (owner * NP + line % NP)[:, None] * RP + slot[None, :], good[:, None], 0.0)
            rows = tl.reshape(x, [BT * NP, BD])
        else:
            left = tl.load(to_raw + tokens[:, None] * RP + slot[None, :], live[:, None], 0.0)
            rows = tl.reshape(x, [BT, NP * BD])
        total = tl.dot(tl.trans(left), rows, total, input_precision=PRECISION)
        start += BT
    if EACH:
        tl.store(to_maps + (part * RP + slot[:, None]) * D + columns[None, :], total, inside[None, :])
    else:
        place = tl.arange(0, NP * BD)
        channel = tl.program_id(0) * BD + place % BD
        where = (part * RP + slot[:, None]) * (N * D) + (place // BD * D + channel)[None, :]
        tl.store(where + to_maps, total, ((channel < D) & (place // BD < N))[None, :])
