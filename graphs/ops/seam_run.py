"""The seams of one model, and of one of its forward passes."""

import importlib.util
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from graphs.coefficients import Coefficients, Memo
from graphs.ops import seam as one_seam
from graphs.ops.reference import promoted
from graphs.ops.seam import Call, Job, Past
from graphs.ops.seam_kinds import recognised
from graphs.ops.seam_rules import Rules
from graphs.ops.seams import links_of, seams_of
from graphs.plan import Plan


@cache
def kernels(device: str) -> bool:
    """Whether seams run in Triton: on a GPU, where it is installed."""
    return device == "cuda" and importlib.util.find_spec("triton") is not None


class Seams:
    """What a plan's seams are, worked out once. ``mixes`` are the numbers of all mixes that they stand for."""

    def __init__(self, plan: Plan, weights: Coefficients, recompute: bool | int) -> None:
        seams = seams_of(plan)
        links = links_of(seams, recompute)
        given: dict[int, tuple[int, ...]] = {}
        for link in reversed(links):
            if link.before is not None:
                given[link.before] = link.given
        norms = [
            plan.mixes[n].norm if (n := s.width if s.norm is None else s.norm) is not None else None for s in seams
        ]
        self.jobs = tuple(
            Job(seam, link, Rules(weights, seam), norm, given.get(i, ()))
            for i, (seam, link, norm) in enumerate(zip(seams, links, norms, strict=True))
        )
        # One kernel call for those whose rules the kernels know and that keep their own state.
        self.known = tuple(
            recognised(plan, seam, link) if not link.place and link.last else None
            for seam, link in zip(seams, links, strict=True)
        )
        self.slots: dict[tuple[int, torch.device], Any] = {}  # of the kernels, by seam and device
        self.starts: dict[int, int] = {}
        self.mixes: set[int] = set()
        for i, seam in enumerate(seams):
            its = [number for number in (seam.depth, seam.width, seam.norm) if number is not None]
            self.starts[its[0]] = i
            self.mixes.update(its)


class SeamRun:
    """One forward pass: the weights that seams have worked out for later ones, and the segment so far."""

    def __init__(self, seams: Seams, weights: Coefficients, axis: int) -> None:
        self.seams, self.weights, self.axis = seams, weights, axis
        self.written: dict[int, Tensor] = {}
        self.trails: dict[int, tuple[Past, ...]] = {}
        self.handles: dict[int, Tensor | None] = {}

    def run(self, number: int, values: Mapping[str, Tensor], keys: Collection[str], memo: Memo) -> dict[str, Tensor]:
        """The values that exist once mix ``number`` has run: a seam's at its first mix, none at its second."""
        start = self.seams.starts.get(number)
        if start is None:
            return {}
        job = self.seams.jobs[start]
        seam, link = job.seam, job.link
        reads = [values[name].movedim(self.axis, -1) for name in seam.reads]
        write = (
            None
            if seam.depth is None
            else self._write(seam.depth, reads[0], [values[k] for k in keys if k in values], memo)
        )
        known = self.seams.known[start]
        if known is not None and write is not None and kernels(write.device.type):
            from graphs.ops.triton import seam as fused

            place = start, write.device
            if place not in self.seams.slots:
                self.seams.slots[place] = fused.Slots(known, self.weights, write.device)
            slots = self.seams.slots[place]
            if slots.takes(self.weights, write, reads):
                *results, after = fused.run(slots, self.weights, write, reads)
                self.written[seam.later[0]] = after
                return {name: one.movedim(-1, self.axis) for name, one in zip(seam.outputs, results, strict=True)}
        trail: tuple[Past, ...] = ()
        handle: Tensor | None = None
        if link.before is not None:
            trail, handle = self.trails.pop(link.before, ()), self.handles.pop(link.before, None)
        if trail and promoted(reads) != promoted([reads[i] for i in link.carried]):
            trail, handle = (), None  # a block of another dtype: the streams are of two kinds from here
        call = Call(job, self.weights, trail, bool(trail) and not link.last and torch.is_grad_enabled())
        outputs, later, handle = one_seam.run(call, handle, write, reads)
        self.written.update(zip(seam.later, later, strict=True))
        if not link.last and any(output.requires_grad for output in outputs):
            own = [reads[i] for i in job.fresh] if trail else reads
            past = Past(
                job,
                tuple(read.detach() for read in own),
                None if write is None else write.detach(),
                tuple(parameter.detach() for parameter in one_seam.parameters_of(call)),
            )
            self.trails[start], self.handles[start] = (*trail, past), handle
        return {name: output.movedim(-1, self.axis) for name, output in zip(seam.outputs, outputs, strict=True)}

    def _write(self, number: int, like: Tensor, keys: list[Tensor], memo: Memo) -> Tensor:
        """The depth mix's weights: what an earlier seam worked out, or its own rule."""
        if number in self.written:
            return self.written.pop(number)
        made = self.weights(number, [key.movedim(self.axis, -1) for key in keys], memo)
        if isinstance(made, Tensor):
            return made
        return like.new_tensor([[float(entry) for entry in row] for row in made])
