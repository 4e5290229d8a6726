"""One seam in plain torch: a depth mix, the weights computed from its state, and the next width mix.

``X = D (y, g)``, ``W, D' = rules(X)``, ``(u, g') = W X``. The state X is kept neither for the backward pass nor while
the block runs: the backward pass works it out again from y and g, and from it the weights. With a segment of several
seams the streams g are kept at its first seam alone, and the backward pass replays them from there.

What was replayed goes from seam to seam without a side effect, as the gradient of a handle: an output of no memory
that the next seam of the segment reads, and for which its backward pass returns the streams it has rebuilt. Where
that does not come (the backward pass began in mid-segment) a seam replays its own.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphs.coefficients import Coefficients, normalised
from graphs.ops.gather import refuse_second_derivatives
from graphs.ops.reference import accumulation, promoted, without_autocast
from graphs.ops.seam_rules import Evaluated, Rules, add_taken, added, taken
from graphs.ops.seams import Link, Seam
from graphs.topology import Norm


class Job(NamedTuple):
    """One seam of a model. ``norm`` is that of its first output, the block's input; ``together`` are the outputs that
    the next seam carries on: they share their memory."""

    seam: Seam
    link: Link
    rules: Rules
    norm: Norm | None
    together: tuple[int, ...]

    @property
    def fresh(self) -> tuple[int, ...]:
        """The places among its reads of what no seam carries to it."""
        return tuple(i for i in range(len(self.seam.reads)) if i not in self.link.carried)


class Past(NamedTuple):
    """What the segment keeps of a seam: all of what the first one reads, of a later one what is not carried."""

    job: Job
    reads: tuple[Tensor, ...]
    write: Tensor | None
    parameters: tuple[Tensor, ...]


class Call(NamedTuple):
    """One run of a seam. ``trail`` is the segment so far, and ``handled`` whether it gives a handle."""

    job: Job
    weights: Coefficients
    trail: tuple[Past, ...] = ()
    handled: bool = False


def run(
    call: Call, handle: Tensor | None, write: Tensor | None, reads: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor | None]:
    """The seam's outputs, the weights of its later mixes, and a handle for the next seam of the segment.

    ``reads`` have one shape (..., d), ``write`` is (n, k) or (..., n, k), None without a depth mix.
    """
    parameters = parameters_of(call)
    results = _Seam.apply(call, handle, write, *reads, *parameters)  # type: ignore[no-untyped-call]
    ends = len(results) - call.handled
    count = len(call.job.seam.outputs)
    return results[:count], results[count:ends], results[-1] if call.handled else None


def parameters_of(call: Call) -> tuple[Tensor, ...]:
    return tuple(getattr(call.weights, name) for name in call.job.rules.names)


class _Open:
    """A seam's state X (T, n, d), from the vectors S (T, k, d) it reads, and its weights."""

    def __init__(self, weights: Coefficients, now: Past, record: bool) -> None:
        self.job = job = now.job
        self.dtype = promoted(now.reads)
        wide = accumulation(self.dtype)
        dim = now.reads[0].shape[-1]
        self.read = torch.stack([read.reshape(-1, dim).to(wide) for read in now.reads], dim=1)
        self.given = self.write = now.write
        if now.write is not None:
            write = now.write.to(wide)
            self.write = write if write.ndim == 2 else write.reshape(len(self.read), *write.shape[-2:])
        self.state = self.read if self.write is None else torch.matmul(self.write, self.read)
        self.rules = Evaluated(job.rules, weights, now.parameters, self.state, record)
        self.width = None if job.seam.width is None else self.rules.weights[0].detach().to(wide)

    def rows(self, outputs: Sequence[int]) -> Tensor:
        """Some outputs before their norm, (T, len(outputs), d)."""
        mixed = len(self.job.seam.writes)
        if self.width is not None and all(i < mixed for i in outputs):
            width = self.width if len(outputs) == mixed else self.width[..., list(outputs), :]
            return torch.matmul(width, taken(self.state, self.job.seam.sources))
        if all(i >= mixed for i in outputs):
            return taken(self.state, tuple(self.job.seam.kept[i - mixed] for i in outputs))
        return torch.cat([self.rows([i]) for i in outputs], dim=1)

    def outputs(self, which: Sequence[int]) -> Tensor:
        """Some outputs, in memory of their own."""
        rows = self.rows(which)
        if self.job.norm is not None:
            parts = [
                self.normed(rows[:, i : i + 1]) if output == 0 else rows[:, i : i + 1] for i, output in enumerate(which)
            ]
            rows = torch.cat(parts, dim=1)
        return rows.to(self.dtype)

    def normed(self, rows: Tensor) -> Tensor:
        norm = self.job.norm
        assert norm is not None
        named = self.rules.parameters
        return normalised(norm, rows, named[f"{norm.name}_gain"], named.get(f"{norm.name}_bias"))


class _Seam(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Call, handle: Tensor | None, write: Tensor | None, *tensors: Tensor) -> Any:
        job, count = call.job, len(call.job.seam.reads)
        reads, parameters = tensors[:count], tensors[count:]
        ctx.set_materialize_grads(False)
        shape = reads[0].shape
        with without_autocast(reads[0]):
            opened = _Open(call.weights, Past(job, reads, write, parameters), False)
            groups = [job.together] if job.together else []
            groups += [(i,) for i in range(len(job.seam.outputs)) if i not in job.together]
            outputs: dict[int, Tensor] = {}
            for group in groups:
                rows = opened.outputs(group)
                outputs |= {i: rows[:, j].view(shape) for j, i in enumerate(group)}
        later = opened.rules.weights[int(job.seam.width is not None) :]
        results = [outputs[i] for i in range(len(outputs))]
        results += [weight.view(*shape[:-1], *weight.shape[1:]) for weight in later]
        place = len(call.trail)
        if call.handled:
            size = place, opened.state.shape[0], len(job.link.carried), shape[-1]
            results.append(torch.zeros((), dtype=opened.dtype, device=reads[0].device).expand(size))
        ctx.weights, ctx.handled, ctx.shape = call.weights, call.handled, shape
        ctx.jobs = (*(past.job for past in call.trail), job)
        ctx.dtypes = [read.dtype for read in reads]
        own = tuple(reads[i] for i in job.fresh) if place else reads
        kept: list[Tensor | None] = []
        for past in (*call.trail, Past(job, own, write, parameters)):
            kept += [*past.reads, past.write, *past.parameters]
        ctx.save_for_backward(*kept)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        refuse_second_derivatives()
        job: Job = ctx.jobs[-1]
        seam = job.seam
        passed = list(grads[: len(seam.outputs)])
        later = list(grads[len(passed) : len(passed) + len(seam.later)])
        if all(grad is None for grad in (*passed, *later)):
            return (None,) * len(ctx.needs_input_grad)
        *trail, now = _unpacked(ctx.jobs, iter(ctx.saved_tensors))
        with without_autocast(now.reads[0]):
            handed = None
            if trail:
                handed = grads[-1] if ctx.handled else None
                if handed is None:
                    handed = _replayed(ctx.weights, [*trail, now])
                now = now._replace(reads=_joined(job, now.reads, handed[-1], ctx.shape))
            opened = _Open(ctx.weights, now, True)
            into, learned, narrow = _through_width(opened, passed)
            weighed = [None if grad is None else grad.reshape(len(opened.state), *grad.shape[-2:]) for grad in later]
            slopes = opened.rules.backward([*narrow, *weighed], into)
            slopes = [added(one, learned.get(name)) for name, one in zip(job.rules.names, slopes, strict=True)]
            write, reads = _through_depth(opened, into, ctx)
        handle = handed[:-1] if handed is not None and ctx.needs_input_grad[1] else None
        return None, handle, write, *reads, *slopes


def _through_width(
    opened: _Open, grads: Sequence[Tensor | None]
) -> tuple[Tensor, dict[str, Tensor], list[Tensor | None]]:
    """The state's gradient, those of the norm's parameters by name, and that of the width mix's weights."""
    seam, state = opened.job.seam, opened.state
    into = torch.zeros_like(state)
    flat = [None if grad is None else grad.reshape(-1, state.shape[2]).to(state.dtype) for grad in grads]
    for place, grad in zip(seam.kept, flat[len(seam.writes) :], strict=True):
        if grad is not None:
            into[:, place] += grad
    if opened.width is None:
        return into, {}, []
    live = [i for i, grad in enumerate(flat[: len(seam.writes)]) if grad is not None]
    if not live:
        return into, {}, [None]
    given = torch.stack([grad for grad in (flat[i] for i in live) if grad is not None], dim=1)
    learned: dict[str, Tensor] = {}
    if opened.job.norm is not None and live[0] == 0:
        first, learned = _through_norm(opened, given[:, :1])
        given = torch.cat([first, given[:, 1:]], dim=1)
    whole = len(live) == len(seam.writes)
    width = opened.width if whole else opened.width[..., live, :]
    add_taken(into, seam.sources, torch.matmul(width.transpose(-1, -2), given))
    if not opened.rules.weights[0].requires_grad:
        return into, learned, [None]
    slope = _outer(given, taken(state, seam.sources), width.ndim == 2)
    if not whole:
        every = slope.new_zeros(opened.width.shape)
        every[..., live, :] = slope
        slope = every
    return into, learned, [slope]


def _through_norm(opened: _Open, given: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    named = {name: one for name, one in opened.rules.parameters.items() if one.requires_grad}
    with torch.enable_grad():
        rows = opened.rows([0]).requires_grad_()
        found = torch.autograd.grad(opened.normed(rows), [rows, *named.values()], given, allow_unused=True)
    return found[0], {name: one for name, one in zip(named, found[1:], strict=True) if one is not None}


def _through_depth(opened: _Open, into: Tensor, ctx: Any) -> tuple[Tensor | None, list[Tensor | None]]:
    """The gradients of the depth mix's weights and of what the seam reads, each in memory of its own."""
    needed = ctx.needs_input_grad[2 : 3 + len(ctx.dtypes)]
    slope = None
    if opened.given is not None and opened.write is not None and needed[0]:
        slope = _outer(into, opened.read, opened.write.ndim == 2).to(opened.given.dtype).view(opened.given.shape)
    reads: list[Tensor | None] = []
    for i, (wanted, dtype) in enumerate(zip(needed[1:], ctx.dtypes, strict=True)):
        if not wanted:
            reads.append(None)
        elif opened.write is None:
            reads.append(into[:, i].to(dtype).contiguous().view(ctx.shape))
        else:
            column = opened.write[..., i : i + 1].transpose(-1, -2).contiguous()  # else torch goes token by token
            reads.append(torch.matmul(column, into).to(dtype).view(ctx.shape))
    return slope, reads


def _outer(left: Tensor, right: Tensor, static: bool) -> Tensor:
    """Inner products over the channels (T, m, k); their sum over the tokens where the weights are ``static``."""
    if static:
        summed: Tensor = torch.tensordot(left, right, dims=([0, 2], [0, 2]))
        return summed
    return torch.bmm(left, right.transpose(1, 2))


def _unpacked(jobs: Sequence[Job], saved: Iterator[Any]) -> list[Past]:
    pasts = []
    for place, job in enumerate(jobs):
        count = len(job.fresh) if place else len(job.seam.reads)
        reads = tuple(next(saved) for _ in range(count))
        write = next(saved)
        pasts.append(Past(job, reads, write, tuple(next(saved) for _ in job.rules.names)))
    return pasts


def _replayed(weights: Coefficients, segment: Sequence[Past]) -> Tensor:
    """The streams carried into each seam of the segment but the first, (seams - 1, T, n, d)."""
    shape = segment[0].reads[0].shape
    result: Tensor | None = None
    for i, (past, following) in enumerate(pairwise(segment)):
        now = past if result is None else past._replace(reads=_joined(past.job, past.reads, result[i - 1], shape))
        rows = _Open(weights, now, False).outputs(following.job.link.given)
        if result is None:
            result = rows.new_empty(len(segment) - 1, *rows.shape)
        result[i] = rows
    assert result is not None
    return result


def _joined(job: Job, fresh: Sequence[Tensor], carried: Tensor, shape: torch.Size) -> tuple[Tensor, ...]:
    """All that a seam reads, from what is its own and the streams (T, n, d)."""
    own, streams = iter(fresh), iter(carried.unbind(1))
    return tuple(
        next(streams).reshape(shape) if i in job.link.carried else next(own) for i in range(len(job.seam.reads))
    )
