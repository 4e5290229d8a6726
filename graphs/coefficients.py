"""The learned numbers of a plan as a module: weight rules evaluated with torch."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphs import rule_tensors
from graphs.attention import Attention
from graphs.errors import CompileError, TopologyError
from graphs.ops.reference import without_autocast
from graphs.plan import Plan
from graphs.topology import Norm
from graphs.weights import (
    GROUPS,
    Bernoulli,
    Constant,
    Generated,
    Grain,
    Matrix,
    Number,
    Parameter,
    Permutations,
    Place,
    Product,
    Shared,
    Weight,
    walk,
)

Memo = dict[int, Tensor]


class _Program(list[int]):
    """The places of the rules to work out for one mix, its own weight last."""


class Coefficients(nn.Module):
    """Holds the ``nn.Parameter`` of each named rule, and evaluates the rules of a plan's mixes.

    A :class:`graphs.Parameter` is its matrix, or the vector of its learned entries, with the entry's axes last; a
    :class:`graphs.weights.Generated` is ``NAME_map`` and, where it has them, ``NAME_gain`` and ``NAME_hidden``.

    They stay at least fp32: ``.half()`` and ``.to(torch.bfloat16)`` move them and leave their dtype alone,
    because softmax and products of coefficients lose in 16 bits what short runs measure. Each parameter carries
    ``no_weight_decay`` and ``lr_scale``, the treatment its optimiser group asks for.
    """

    def __init__(self, plan: Plan, dim: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.dim = dim
        # Rules in an order in which they can be worked out, equal ones once, and the places of each one's children.
        shared = Shared()
        self._rules, self._children = shared.rules, shared.children
        self._programs: list[Matrix | _Program] = []
        for mix in plan.mixes:
            if isinstance(mix.weight, Constant):
                self._programs.append(mix.weight.entries)
                continue
            ready = len(self._rules)
            shared.number(mix.weight)
            for place in range(ready, len(self._rules)):
                self._prepare(self._rules[place], place, generator)
            self._programs.append(_Program(dict.fromkeys(map(shared.number, walk(mix.weight)))))
        self._norms = tuple(mix.norm for mix in plan.mixes)
        for norm in dict.fromkeys(norm for norm in self._norms if norm is not None):
            self._learn(f"{norm.name}_gain", torch.ones(dim, dtype=_dtype()), "mix")
            if norm.kind == "layer":
                self._learn(f"{norm.name}_bias", torch.zeros(dim, dtype=_dtype()), "mix")

    def _prepare(self, rule: Weight, place: int, generator: torch.Generator | None) -> None:
        """Register what a rule needs: parameters by name, fixed tensors by the rule's place."""
        if isinstance(rule, Parameter | Generated):
            try:
                rule.grain.width(self.dim)
            except TopologyError as error:
                raise TopologyError(f"parameter {rule.name}: {error}") from error
        match rule:
            case Constant(entries=entries):
                self._buffer(f"_fixed{place}", torch.tensor(_floats(entries), dtype=_dtype()))
            case Bernoulli(keep=keep):
                self._buffer(f"_fixed{place}", torch.tensor(_floats(keep), dtype=_dtype()))
            case Place():
                self._buffer(f"_fixed{place}", torch.tensor(rule_tensors.place_index(rule)))
            case Permutations():
                self._buffer(f"_fixed{place}", torch.tensor(rule_tensors.permuted_constant(rule), dtype=_dtype()))
            case Parameter():
                full = _spread(torch.tensor(_floats(rule.initial), dtype=_dtype()), rule.grain, self.dim)
                if rule.learned is None:
                    self._learn(rule.name, full, rule.group)
                else:
                    mask = torch.tensor(rule.learned)
                    self._learn(rule.name, full[mask], rule.group)
                    self._buffer(f"_fixed{place}", full)
                    self._buffer(f"_mask{place}", mask)
            case Generated():
                fan_in, maps = rule.fan_in(self.dim), rule.maps(self.dim)
                if rule.gain:
                    self._learn(f"{rule.name}_gain", torch.ones(fan_in, dtype=_dtype()), "mix")
                if rule.hidden:
                    self._learn(f"{rule.name}_hidden", _normal(rule.hidden, fan_in, generator), rule.group)
                    fan_in = rule.hidden
                zeros = rule.start == "zeros"
                start = torch.zeros(maps, fan_in, dtype=_dtype()) if zeros else _normal(maps, fan_in, generator)
                self._learn(f"{rule.name}_map", start, rule.group)

    def _learn(self, name: str, start: Tensor, group: str) -> None:
        if hasattr(self, name):
            raise CompileError(
                f"the parameter name {name!r} is taken, by another parameter or by torch.nn.Module; rename it"
            )
        parameter = nn.Parameter(start)
        treatment = GROUPS.get(group, GROUPS["mix"])
        parameter.no_weight_decay = not treatment.decay  # type: ignore[attr-defined]
        parameter.lr_scale = treatment.lr  # type: ignore[attr-defined]
        self.register_parameter(name, parameter)

    def _buffer(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            low = moved.is_floating_point() and moved.dtype not in (torch.float32, torch.float64)
            return tensor.to(device=moved.device) if low else moved

        return super()._apply(keep_precision, recurse)  # type: ignore[no-untyped-call]

    def forward(
        self, number: int, keys: Sequence[Tensor], memo: Memo, given: Mapping[str, Tensor] | None = None
    ) -> Tensor | Matrix:
        """The matrix of the plan's mix ``number``: rows of plain numbers where fixed, else a tensor as in ``mix``.

        ``keys`` are the mix's keys, channels last. ``memo`` is one dict a forward pass, in which what several
        mixes share is kept. ``given`` are tensors that stand for parameters, by name: the module itself is never
        changed, because other threads may be using it.
        """
        program = self._programs[number]
        if not isinstance(program, _Program):
            return program
        mine: Memo = {}  # what is per token belongs to this mix's keys alone
        for place in program:
            if place not in memo and place not in mine:
                parts = [mine[child] if child in mine else memo[child] for child in self._children[place]]
                kept = mine if self._rules[place].per_token else memo
                kept[place] = self._tensor(self._rules[place], place, parts, keys, given or {})
        return mine[place] if place in mine else memo[place]

    def uses(self, number: int) -> tuple[tuple[str, ...], tuple[tuple[int, Generated], ...]]:
        """What the plan's mix ``number`` uses: names of parameters, and its generated rules with their places.

        A ``memo`` that has a tensor at such a place is taken at its word: the rule is not worked out from the keys.
        """
        program, norm = self._programs[number], self._norms[number]
        names, generated = [], []
        for place in program if isinstance(program, _Program) else ():
            rule = self._rules[place]
            if isinstance(rule, Parameter):
                names.append(rule.name)
            elif isinstance(rule, Generated):
                generated.append((place, rule))
                names += [
                    f"{rule.name}_{part}" for part in ("map", "gain", "hidden") if part == "map" or getattr(rule, part)
                ]
        if norm is not None:
            names += [f"{norm.name}_gain", *([f"{norm.name}_bias"] if norm.kind == "layer" else [])]
        return tuple(dict.fromkeys(names)), tuple(generated)

    def keys(self, asked: Sequence[Attention]) -> Tensor:
        """The keys (number, d) of attentions over depth: query times gain over temperature, at least fp32."""
        rows = []
        for rule, temperature in asked:
            row: Tensor = getattr(self, f"{rule.name}_map")
            if rule.gain:
                row = row * getattr(self, f"{rule.name}_gain")
            rows.append(row if temperature == 1 else row / temperature)
        return torch.cat(rows)

    def gain(self, number: int) -> Tensor | None:
        """The gain (d,) of the RMS norm of mix ``number``, if it has one of this kind."""
        rule = self._norms[number]
        if rule is None or rule.kind != "rms":
            return None
        found: Tensor = getattr(self, f"{rule.name}_gain")
        return found

    def norm(self, number: int, value: Tensor) -> Tensor:
        """The output of mix ``number`` normalised over its last axis, if it has a norm."""
        rule = self._norms[number]
        if rule is None:
            return value
        bias: Tensor | None = getattr(self, f"{rule.name}_bias") if rule.kind == "layer" else None
        return normalised(rule, value, getattr(self, f"{rule.name}_gain"), bias)

    def _named(self, name: str, given: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = given[name] if name in given else getattr(self, name)
        return found

    def _tensor(
        self,
        rule: Weight,
        place: int,
        parts: list[Tensor],
        keys: Sequence[Tensor],
        given: Mapping[str, Tensor],
    ) -> Tensor:
        match rule:
            case Constant():
                return self._fixed(place)
            case Parameter():
                return self._parameter(rule, place, given)
            case Bernoulli():
                keep = self._fixed(place)
                return torch.bernoulli(keep) if self.training else keep
            case Generated():
                return self._generated(rule, [keys[i] for i in rule.keys], given)
            case Place(of=of):
                axes = parts[0].ndim - 2 if not of.per_token else _entry_axes(of.grain)
                return rule_tensors.placed(parts[0], rule, self._fixed(place), axes)
        with without_autocast(parts[0]):
            if isinstance(rule, Product):
                left, right = (
                    rule_tensors.lift(part, child.grain, rule.grain, self.dim)
                    for part, child in zip(parts, rule.children, strict=True)
                )
                return rule_tensors.product(left, right, rule.grain)
            if isinstance(rule, Permutations):
                return rule_tensors.permuted(parts[0], rule, self._fixed(place))
            return rule_tensors.combine(rule, parts, self.dim)

    def _fixed(self, place: int) -> Tensor:
        fixed: Tensor = getattr(self, f"_fixed{place}")
        return fixed

    def _parameter(self, rule: Parameter, place: int, given: Mapping[str, Tensor]) -> Tensor:
        value = self._named(rule.name, given)
        if rule.learned is None:
            return value
        mask: Tensor = getattr(self, f"_mask{place}")
        fixed = self._fixed(place)
        return fixed.masked_scatter(mask.view(*mask.shape, *[1] * (fixed.ndim - 2)).expand_as(fixed), value)

    def _generated(self, rule: Generated, keys: Sequence[Tensor], given: Mapping[str, Tensor]) -> Tensor:
        """Shape (*tokens, m, k, *entry), at least fp32."""
        last = self._named(f"{rule.name}_map", given)
        gain = self._named(f"{rule.name}_gain", given) if rule.gain else None
        m, k = rule.outputs
        with without_autocast(keys[0]):
            states = [key.to(torch.promote_types(key.dtype, last.dtype)) for key in keys]
            if not rule.each:
                read = rule_tensors.normalise(torch.cat(states, dim=-1), rule.norm, gain)
                if rule.hidden:
                    read = nn.functional.gelu(nn.functional.linear(read, self._named(f"{rule.name}_hidden", given)))
                flat = nn.functional.linear(read, last)
                return torch.unflatten(flat, -1, (m, k) if rule.grain == Grain() else (m, k, self.dim))
            parts = rule.grain.width(self.dim)
            columns = []
            for state in states:
                read = rule_tensors.normalise(torch.unflatten(state, -1, (parts, -1)), rule.norm, gain)
                columns.append(nn.functional.linear(read, last))  # (*tokens, parts read, maps)
            together = torch.stack(columns, dim=-3)  # (*tokens, k, parts read, maps)
            if rule.grain == Grain():
                return together.squeeze(-2).transpose(-1, -2)
            if rule.grain.full:  # maps are (m, parts written)
                split = torch.unflatten(together, -1, (m, parts))
                return split.movedim((-2, -1), (-4, -2))
            return together.movedim(-1, -3)

    def values(self) -> Mapping[str, Matrix]:
        """The present full matrices by parameter name, as plain numbers; a finer entry as its mean gain."""
        named = {rule.name: (rule, place) for place, rule in enumerate(self._rules) if isinstance(rule, Parameter)}
        result = {}
        with torch.no_grad():
            for name, (rule, place) in named.items():
                full = self._parameter(rule, place, {}).double()
                if rule.grain.full:
                    full = full.diagonal(dim1=-2, dim2=-1)
                rows = (full if rule.grain == Grain() else full.mean(dim=-1)).tolist()
                result[name] = tuple(map(tuple, rows))
        return result


def normalised(rule: Norm, value: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
    """A mix's norm over the last axis, taken in fp32 at least."""
    wide = torch.promote_types(value.dtype, gain.dtype)
    with without_autocast(value):
        if bias is not None:
            result = nn.functional.layer_norm(value.to(wide), gain.shape, gain.to(wide), bias.to(wide))
        else:
            result = nn.functional.rms_norm(value.to(wide), gain.shape, gain.to(wide), rule_tensors.MIN_NORM)
    return result.to(value.dtype)


def _entry_axes(grain: Grain) -> int:
    return 0 if grain == Grain() else 2 if grain.full else 1


def _spread(full: Tensor, grain: Grain, dim: int) -> Tensor:
    """A matrix of numbers as entries of a grain: each number times the identity."""
    return rule_tensors.lift(full, Grain(), grain, dim).clone()


def _normal(outputs: int, inputs: int, generator: torch.Generator | None) -> Tensor:
    """Normal with variance 1 / inputs, drawn on the CPU."""
    return torch.randn(outputs, inputs, dtype=_dtype(), generator=generator) / math.sqrt(inputs)


def _dtype() -> torch.dtype:
    """Torch's default dtype, but at least fp32."""
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def _floats(rows: tuple[tuple[Number, ...], ...]) -> list[list[float]]:
    return [[float(entry) for entry in row] for row in rows]
