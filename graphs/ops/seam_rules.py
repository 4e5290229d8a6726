"""The weights that a seam works out from its state, and the backward pass through them.

Nearly all of the work is one product of the state with the maps, so that is written out by hand: the normalisation
is moved behind it (mHC, arXiv 2512.24880, equations 14 to 16), ``norm(z) M = r (z M')``, with ``r`` one number a row
and ``M'`` the maps times the norm's gain, each map without its mean where a layer norm takes the mean out. What comes
after it is a few numbers a token, which autograd records and goes back through at once.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from graphs.coefficients import Coefficients, Memo
from graphs.ops.seams import Seam
from graphs.rule_tensors import MIN_NORM
from graphs.weights import SCALAR, Generated


class Member(NamedTuple):
    """A generated rule: of which of the seam's weights, where in the coefficients' list of rules, and what it is."""

    slot: int
    place: int
    rule: Generated


class Group(NamedTuple):
    """Generated rules that read the same rows: one product serves all of them."""

    keys: tuple[int, ...]
    each: bool
    norm: str
    members: tuple[Member, ...]


class Rules:
    """What is asked of the weight rules of one seam, worked out once. ``names`` are the parameters they use."""

    def __init__(self, weights: Coefficients, seam: Seam) -> None:
        self.seam = seam
        names: dict[str, None] = {}
        groups: dict[tuple[tuple[int, ...], bool, str], list[Member]] = {}
        self.general: list[int] = []  # slots with a rule that is not one product: autograd takes all of these
        for slot, (number, keys) in enumerate(zip(seam.inside, seam.keys, strict=True)):
            used, generated = weights.uses(number)
            names.update(dict.fromkeys(used))
            for place, rule in generated:
                if rule.hidden or rule.grain != SCALAR:
                    self.general.append(slot)
                    continue
                key = tuple(keys[i] for i in rule.keys), rule.each, rule.norm
                groups.setdefault(key, []).append(Member(slot, place, rule))
        if seam.norm is not None:
            names.update(dict.fromkeys(weights.uses(seam.norm)[0]))
        self.names = tuple(names)
        self.groups = tuple(Group(*key, tuple(members)) for key, members in groups.items())


class Evaluated:
    """The weights of a seam from its state (T, n, d); with ``record``, their backward pass.

    ``weights`` has a tensor (m, k), or (T, m, k) per token, for each of ``seam.inside``.
    """

    def __init__(
        self, rules: Rules, weights: Coefficients, parameters: Sequence[Tensor], state: Tensor, record: bool
    ) -> None:
        self.state = state
        seam = rules.seam
        if record:
            parameters = [parameter.detach().requires_grad_(parameter.requires_grad) for parameter in parameters]
        self.parameters = dict(zip(rules.names, parameters, strict=True))
        memos: list[Memo] = [{} for _ in seam.inside]
        self.keys = state.detach().requires_grad_() if record and rules.general else state
        self.weights: list[Tensor] = []
        self.projections: list[Projection] = []
        with torch.set_grad_enabled(record):
            for group in rules.groups:
                projection = Projection(group, self.parameters, state)
                self.projections.append(projection)
                for member, logits in zip(group.members, projection.split(), strict=True):
                    memos[member.slot][member.place] = logits
            for slot, number in enumerate(seam.inside):
                keys = [self.keys[:, i] for i in seam.keys[slot]] if slot in rules.general else ()
                made = weights(number, keys, memos[slot], self.parameters)
                if not isinstance(made, Tensor):
                    made = state.new_tensor([[float(entry) for entry in row] for row in made])
                self.weights.append(made)

    def backward(self, grads: Sequence[Tensor | None], into: Tensor) -> list[Tensor | None]:
        """Add the state's gradient to ``into`` (T, n, d) and return the parameters'. ``grads`` as ``weights``."""
        pairs = [
            (weight, grad.to(weight.dtype))
            for weight, grad in zip(self.weights, grads, strict=True)
            if grad is not None and weight.requires_grad
        ]
        leaves = [parameter for parameter in self.parameters.values() if parameter.requires_grad]
        result: list[Tensor | None] = [None] * len(leaves)
        if not pairs:
            return self._spread(result)
        inner = [projection.out for projection in self.projections]
        outer = [self.keys] if self.keys.requires_grad else []
        found = torch.autograd.grad(
            [weight for weight, _ in pairs], [*leaves, *inner, *outer], [grad for _, grad in pairs], allow_unused=True
        )
        result = list(found[: len(leaves)])
        if outer and found[-1] is not None:
            into += found[-1]
        maps = []
        for projection, grad in zip(self.projections, found[len(leaves) :], strict=False):
            if grad is not None:
                slope = projection.backward(grad, into)
                if slope is not None:
                    maps.append((projection.maps, slope))
        if maps:
            learned = torch.autograd.grad(
                [one for one, _ in maps], leaves, [slope for _, slope in maps], allow_unused=True
            )
            result = [added(one, two) for one, two in zip(result, learned, strict=True)]
        return self._spread(result)

    def _spread(self, found: Iterable[Tensor | None]) -> list[Tensor | None]:
        """The gradients of the parameters that train, with None for the others."""
        each = iter(found)
        return [next(each) if parameter.requires_grad else None for parameter in self.parameters.values()]


class Projection:
    """``out = norm(rows) @ maps.T`` for the rows that a group reads; ``out`` (N, R) is where autograd starts."""

    def __init__(self, group: Group, parameters: dict[str, Tensor], state: Tensor) -> None:
        self.group = group
        rows = taken(state, group.keys)
        self.tokens, _, channels = rows.shape
        rows = rows.reshape(-1, channels) if group.each else rows.flatten(1)
        maps = torch.cat([_map(member.rule, parameters) for member in group.members])
        inner = torch.promote_types(rows.dtype, maps.dtype)
        self.maps = maps.to(inner)
        if group.norm == "layer":
            self.maps = self.maps - self.maps.mean(dim=1, keepdim=True)
        with torch.no_grad():
            self.rows = rows.to(inner)
            self.mean: Tensor | None = None
            self.scale: Tensor | None = None
            if group.norm != "none":
                around = self.rows
                if group.norm == "layer":
                    self.mean = self.rows.mean(dim=1, keepdim=True)
                    around = self.rows - self.mean  # torch.var_mean takes five times as long on a CPU
                size = torch.linalg.vector_norm(around, dim=1, keepdim=True)
                self.scale = torch.rsqrt(size.square() / self.rows.shape[1] + MIN_NORM)
            self.raw = self.rows @ self.maps.t()
            out = self.raw if self.scale is None else self.raw * self.scale
        self.out = out.requires_grad_(torch.is_grad_enabled())

    def split(self) -> list[Tensor]:
        """What each member generates: (T, m, k)."""
        each = self.group.each
        result, start = [], 0
        out = self.out.view(self.tokens, len(self.group.keys), self.out.shape[1]) if each else self.out
        for member in self.group.members:
            m, k = member.rule.outputs
            stop = start + (m if each else m * k)
            part = out[..., start:stop]
            result.append(part.transpose(1, 2) if each else part.reshape(-1, m, k))
            start = stop
        return result

    def backward(self, grad: Tensor, into: Tensor) -> Tensor | None:
        """Add the rows' gradient to ``into`` (T, n, d); the gradient of ``maps`` unless they are frozen."""
        straight = grad if self.scale is None else grad * self.scale
        change = straight @ self.maps
        if self.scale is not None:
            # r = (s + MIN_NORM)^-1/2 with s the mean square: dr / dz = - r^3 z / D.
            bend = (grad * self.raw).sum(dim=1, keepdim=True) * self.scale.pow(3) / -self.rows.shape[1]
            change.addcmul_(self.rows, bend)
            if self.mean is not None:
                change -= self.mean * bend
        add_taken(into, self.group.keys, change.view(self.tokens, len(self.group.keys), into.shape[2]))
        return straight.t() @ self.rows if self.maps.requires_grad else None


def taken(state: Tensor, places: tuple[int, ...]) -> Tensor:
    """The state's vectors (T, len(places), d) at some places; the state itself where it is all of them."""
    return state if places == tuple(range(state.shape[1])) else state[:, list(places)]


def add_taken(into: Tensor, places: tuple[int, ...], change: Tensor) -> None:
    """Add to ``into`` what belongs to the vectors that :func:`taken` took. One at a time: a place may come twice."""
    if places == tuple(range(into.shape[1])):
        into += change
        return
    for i, place in enumerate(places):
        into[:, place] += change[:, i]


def added(one: Tensor | None, two: Tensor | None) -> Tensor | None:
    return two if one is None else one if two is None else one + two


def _map(rule: Generated, parameters: dict[str, Tensor]) -> Tensor:
    last = parameters[f"{rule.name}_map"]
    return last * parameters[f"{rule.name}_gain"] if rule.gain else last
