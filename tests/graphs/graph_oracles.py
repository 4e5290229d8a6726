"""What a topology means, written again from the language's definition alone: recursion from the reader."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from graphs import Block, Plan, Topology
from graphs.weights import (
    CHANNEL,
    SCALAR,
    Bernoulli,
    Constant,
    Generated,
    Grain,
    Matrix,
    Parameter,
    Permutations,
    Place,
    Product,
    Sigmoid,
    Sinkhorn,
    Softmax,
    Sum,
    Tanh,
    Times,
    TopK,
    Weight,
    walk,
)

Row = dict[int, Fraction]
Meaning = dict[str | tuple[int, str], Row]


def entries(weight: Weight, values: Mapping[str, Matrix]) -> list[list[Fraction]]:
    """The matrix of a rule in exact arithmetic (floats where a function needs them); random rules give their mean,
    generated ones are at their zero start, and entries finer than a number stand for multiples of the identity."""
    inner = [entries(child, values) for child in weight.children]
    m, k = weight.shape
    cells = [(i, j) for i in range(m) for j in range(k)]

    def rows(entry: Callable[[int, int], Any]) -> list[list[Fraction]]:
        flat = [Fraction(entry(i, j)) for i, j in cells]
        return [flat[i * k : (i + 1) * k] for i in range(m)]

    match weight:
        case Constant(entries=fixed) | Bernoulli(keep=fixed):
            return rows(lambda i, j: fixed[i][j])
        case Parameter():
            now = values.get(weight.name, weight.initial)
            return rows(lambda i, j: now[i][j])
        case Generated(start="zeros"):
            return rows(lambda i, j: 0)
        case Place(cells=moved):
            where = {(i, j): (a, b) for i, j, a, b in moved}
            return rows(lambda i, j: inner[0][where[i, j][0]][where[i, j][1]] if (i, j) in where else 0)
        case Sum():
            return rows(lambda i, j: sum(part[i][j] for part in inner))
        case Times():
            a, b = (part if (len(part), len(part[0])) == (m, k) else [part[0] * k] * m for part in inner)
            return rows(lambda i, j: a[i][j] * b[i][j])
        case Product():
            a, b = inner
            return rows(lambda i, j: sum(a[i][h] * b[h][j] for h in range(len(b))))
        case Sigmoid(scale=scale):
            half = Fraction(1, 2)
            return rows(lambda i, j: scale * (1 / (1 + math.exp(-inner[0][i][j])) if inner[0][i][j] else half))
        case Tanh():
            return rows(lambda i, j: math.tanh(inner[0][i][j]))
        case TopK(fan_in=count):
            beaten = [[sum((x, h) > (y, j) for h, x in enumerate(row)) for j, y in enumerate(row)] for row in inner[0]]
            return rows(lambda i, j: beaten[i][j] < count)
        case Permutations():
            orders = list(itertools.permutations(range(m)))
            return rows(lambda i, j: sum(inner[0][0][s] for s, order in enumerate(orders) if order[i] == j))
        case Sinkhorn(iterations=count):
            if len({entry for row in inner[0] for entry in row}) == 1:
                return rows(lambda i, j: Fraction(1, m))
            now = torch.tensor([[float(entry) for entry in row] for row in inner[0]], dtype=torch.float64)
            now = sinkhorn(now, count).tolist()
            return rows(lambda i, j: now[i][j])
        case Softmax(temperature=temperature, over=over):
            logits = inner[0]
            lines = logits if over == "sources" else [list(column) for column in zip(*logits, strict=True)]
            lines = [_softmax(line, temperature) for line in lines]
            return lines if over == "sources" else [list(row) for row in zip(*lines, strict=True)]
    raise NotImplementedError(weight)


def sinkhorn(logits: Tensor, count: int) -> Tensor:
    """Columns, then rows, of exp (the last two axes)."""
    powers = logits.exp()
    for _ in range(count):
        powers = powers / powers.sum(-2, keepdim=True)
        powers = powers / powers.sum(-1, keepdim=True)
    return powers


def _softmax(line: list[Fraction], temperature: float) -> list[Fraction]:
    if len(set(line)) == 1:
        return [Fraction(1, len(line))] * len(line)
    powers = [math.exp(float(entry - max(line)) / temperature) for entry in line]
    return [Fraction(power / math.fsum(powers)) for power in powers]


def meaning(topology: Topology, values: Mapping[str, Matrix] | None = None, *, listed: bool = False) -> Meaning:
    """What the output and each block's ports read, as weights on outputs 0..L: for the blocks that the output
    depends on, or for all that are ``listed``."""
    writer = {value: op for op in topology.ops for value in op.outputs}

    @cache
    def row_of(value: str) -> tuple[tuple[int, Fraction], ...]:
        if value == topology.stem:
            return ((0, Fraction(1)),)
        op = writer[value]
        if isinstance(op, Block):
            return ((op.number, Fraction(1)),)
        total: Row = {}
        for source, weight in zip(op.reads, entries(op.weight, values or {})[op.writes.index(value)], strict=True):
            for column, entry in row_of(source):
                total[column] = total.get(column, Fraction(0)) + weight * entry
        return tuple(sorted((column, entry) for column, entry in total.items() if entry))

    blocks = {op.number: op for op in topology.ops if isinstance(op, Block)}
    result: Meaning = {"output": dict(row_of(topology.output))}
    pending = list(blocks) if listed else list(result["output"])
    while pending:
        number = pending.pop()
        if number == 0 or (number, blocks[number].ports[0]) in result:
            continue
        for port, value in zip(blocks[number].ports, blocks[number].reads, strict=True):
            result[number, port] = dict(row_of(value))
            pending += result[number, port]
    return result


def run_exactly(plan: Plan, values: Mapping[str, Matrix] | None = None) -> Meaning:
    """Follow the steps of a plan, dropping what each frees: a value read after it is freed is a KeyError."""
    alive: dict[str, Row] = {plan.topology.stem: {0: Fraction(1)}}
    result: Meaning = {}
    for step in plan.steps:
        if isinstance(step.op, Block):
            for port, value in zip(step.op.ports, step.op.reads, strict=True):
                result[step.op.number, port] = alive[value]
            alive[step.op.writes] = {step.op.number: Fraction(1)}
        else:
            rows = []
            for weights in entries(step.op.weight, values or {}):
                total: Row = {}
                for source, weight in zip(step.op.reads, weights, strict=True):
                    for column, entry in alive[source].items():
                        total[column] = total.get(column, Fraction(0)) + weight * entry
                rows.append({column: entry for column, entry in total.items() if entry})
            alive.update(zip(step.op.writes, rows, strict=True))
        for value in step.frees:
            del alive[value]
    result["output"] = alive[plan.topology.output]
    return result


def full_tensors(topology: Topology, stored: Mapping[str, Tensor], dim: int) -> dict[str, Tensor]:
    """Whole parameter matrices from what a compiled model stores (the learned entries of a masked one).

    A weight that the model does not have cannot matter, as its edges are zero for ever: any number will do.
    """
    tensors = dict(stored)
    rules = [rule for mix in topology.mixes for rule in walk(mix.weight)]
    for rule in (rule for rule in rules if isinstance(rule, Parameter)):
        width = () if rule.grain == SCALAR else (rule.grain.width(dim),)
        one = torch.eye(*width) if rule.grain.full else torch.ones(width)
        start = torch.tensor([[float(entry) for entry in row] for row in rule.initial], dtype=torch.float64)
        full = start.view(*start.shape, *[1] * one.ndim) * one.double()
        if rule.name not in stored:
            tensors[rule.name] = full
        elif rule.learned is not None:
            tensors[rule.name] = full.index_put(torch.tensor(rule.learned).nonzero(as_tuple=True), stored[rule.name])
    for rule in (rule for rule in rules if isinstance(rule, Generated)):
        if f"{rule.name}_map" not in stored:
            inner = rule.hidden or rule.fan_in(dim)
            tensors[f"{rule.name}_map"] = torch.ones(rule.maps(dim), inner, dtype=torch.float64)
            tensors[f"{rule.name}_hidden"] = torch.ones(rule.hidden, rule.fan_in(dim), dtype=torch.float64)
    for norm in (mix.norm for mix in topology.mixes if mix.norm is not None):
        for name in (f"{norm.name}_gain", f"{norm.name}_bias"):
            tensors.setdefault(name, torch.ones(dim, dtype=torch.float64))
    return tensors


def torch_matrix(weight: Weight, tensors: Mapping[str, Tensor], dim: int, keys: Sequence[Tensor] = ()) -> Tensor:
    """The matrix of a rule with every entry a whole (dim, dim) matrix on the channels, fp64.

    Shape (m, k, dim, dim), or (*tokens, m, k, dim, dim) where it is computed from ``keys``. ``tensors`` holds the
    parameters under their names in a compiled model, full ones.
    """
    eye = torch.eye(dim, dtype=torch.float64)

    def spread(rows: Tensor, grain: Grain = SCALAR) -> Tensor:  # (..., m, k, *entry) -> (..., m, k, dim, dim)
        if grain == SCALAR:
            return rows[..., None, None] * eye
        run = torch.eye(dim // rows.shape[-1], dtype=torch.float64)
        return torch.stack(
            [
                torch.kron(entry if grain.full else entry.diag(), run)
                for entry in (rows.reshape(-1, *rows.shape[-2:]) if grain.full else rows.reshape(-1, rows.shape[-1]))
            ]
        ).reshape(*rows.shape[: -2 if grain.full else -1], dim, dim)

    inner = [torch_matrix(child, tensors, dim, keys) for child in weight.children]
    gains = inner[0].diagonal(dim1=-2, dim2=-1).movedim(-1, 0) if inner else None  # (dim, ..., m, k)
    back = {
        Softmax: lambda w, x: torch.softmax(x / w.temperature, dim=-1 if w.over == "sources" else -2),
        Sigmoid: lambda w, x: w.scale / (1 + torch.exp(-x)),
        Sinkhorn: lambda w, x: sinkhorn(x, w.iterations),
    }
    match weight:
        case Constant(entries=fixed) | Bernoulli(keep=fixed):
            return spread(torch.tensor([[float(entry) for entry in row] for row in fixed], dtype=torch.float64))
        case Parameter(grain=grain):
            return spread(tensors[weight.name], grain)
        case Generated(grain=grain):
            return spread(_generated(weight, tensors, dim, [keys[i] for i in weight.keys]), grain)
        case Sum():
            return functools.reduce(torch.add, inner)
        case Product():
            return torch.einsum("...mhab,...hkbc->...mkac", *inner)
        case Times():
            return inner[0] @ inner[1]
        case Place(cells=cells):
            m, k = weight.shape
            zero = torch.zeros_like(inner[0][..., 0, 0, :, :])
            where = {(i, j): (a, b) for i, j, a, b in cells}
            flat = [inner[0][..., *where[i, j], :, :] if (i, j) in where else zero for i in range(m) for j in range(k)]
            return torch.stack(flat, dim=-3).unflatten(-3, (m, k))
        case Tanh():
            return torch.tanh(inner[0])  # entry by entry of a whole matrix: zeros stay zero
        case Permutations(size=n):
            orders = enumerate(itertools.permutations(range(n)))
            parts = [
                inner[0][..., 0, s, :, :][..., None, None, :, :]
                * eye[:n][:, :n].new_tensor([[float(order[i] == j) for j in range(n)] for i in range(n)])[
                    ..., None, None
                ]
                for s, order in orders
            ]
            return functools.reduce(torch.add, parts)
    return torch.diag_embed(back[type(weight)](weight, gains).movedim(0, -1))


def _generated(weight: Generated, tensors: Mapping[str, Tensor], dim: int, keys: Sequence[Tensor]) -> Tensor:
    """Entry by entry and token by token, shape (*tokens, m, k, *entry)."""
    m, k = weight.outputs
    last, gain = tensors[f"{weight.name}_map"], tensors.get(f"{weight.name}_gain", torch.ones(()))

    def read(vector: Tensor) -> Tensor:
        if weight.norm == "layer":
            vector = vector - vector.mean()
        if weight.norm != "none":
            vector = vector / (vector.square().mean() + 1e-6).sqrt()
        return vector * gain

    tokens = keys[0].shape[:-1]
    rows = []
    for at in itertools.product(*map(range, tokens)):
        if weight.each:
            parts = weight.grain.width(dim)
            cut = [[read(part) for part in key[at].chunk(parts)] for key in keys]
            if weight.grain.full:
                maps = last.reshape(m, parts, -1)
                cells = [
                    torch.stack([torch.stack([maps[i, a] @ cut[j][b] for b in range(parts)]) for a in range(parts)])
                    for i in range(m)
                    for j in range(k)
                ]
            else:
                cells = [torch.stack([last[i] @ cut[j][b] for b in range(parts)]) for i in range(m) for j in range(k)]
                cells = [cell.squeeze(0) for cell in cells] if parts == 1 else cells
        else:
            state = read(torch.cat([key[at] for key in keys]))
            if weight.hidden:
                state = torch.nn.functional.gelu(tensors[f"{weight.name}_hidden"] @ state)
            cells = list((last @ state).reshape(m * k, *([dim] if weight.grain == CHANNEL else [])))
        rows.append(torch.stack(cells).unflatten(0, (m, k)))
    return torch.stack(rows).unflatten(0, tokens)


def forward(
    topology: Topology, blocks: Sequence[nn.Module], tensors: Mapping[str, Tensor], x0: Tensor, **kw: Any
) -> Tensor:
    """The output value by recursion from the output: no passes, no plan, no operator. Channels are the last axis."""
    writer = {value: op for op in topology.ops for value in op.outputs}

    @cache
    def value_of(value: str) -> Tensor:
        if value == topology.stem:
            return x0
        op = writer[value]
        if isinstance(op, Block):
            result = blocks[op.number - 1](*map(value_of, op.reads), **kw)
            return result[0] if isinstance(result, tuple) else result
        matrix = torch_matrix(op.weight, tensors, x0.shape[-1], [value_of(key) for key in op.keys])
        row = matrix[..., op.writes.index(value), :, :, :]
        total = torch.zeros_like(x0)
        for j, source in enumerate(op.reads):
            total = total + (row[..., j, :, :] @ value_of(source)[..., None])[..., 0]
        if op.norm is None:
            return total
        gain = tensors[f"{op.norm.name}_gain"]
        if op.norm.kind == "rms":
            return total / (total.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain
        centred = total - total.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return centred / scale * gain + tensors[f"{op.norm.name}_bias"]

    return value_of(topology.output)
