"""What a topology means, written again from the language's definition alone: recursion from the reader."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from graphs import Block, Constant, Parameter, Plan, Product, Softmax, Sum, Topology
from graphs.weights import Matrix, Weight

Row = dict[int, Fraction]
Meaning = dict[str | tuple[int, str], Row]


def entries(weight: Weight, values: Mapping[str, Matrix]) -> list[list[Fraction]]:
    """The matrix of a rule in exact arithmetic (floats where a softmax has unequal logits)."""
    if isinstance(weight, Constant):
        return [[Fraction(entry) for entry in row] for row in weight.entries]
    if isinstance(weight, Parameter):
        return [[Fraction(entry) for entry in row] for row in values.get(weight.name, weight.initial)]
    if isinstance(weight, Sum):
        parts = [entries(term, values) for term in weight.terms]
        m, k = weight.shape
        return [[sum((part[i][j] for part in parts), Fraction(0)) for j in range(k)] for i in range(m)]
    if isinstance(weight, Product):
        a, b = entries(weight.left, values), entries(weight.right, values)
        return [
            [sum((x * y[j] for x, y in zip(row, b, strict=True)), Fraction(0)) for j in range(len(b[0]))] for row in a
        ]
    logits = entries(weight.of, values)
    lines = logits if weight.over == "sources" else [list(column) for column in zip(*logits, strict=True)]
    lines = [_softmax(line, weight.temperature) for line in lines]
    return lines if weight.over == "sources" else [list(row) for row in zip(*lines, strict=True)]


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


def torch_matrix(weight: Weight, tensors: Mapping[str, Tensor]) -> Tensor:
    """The matrix of a rule from full parameter matrices, fp64."""
    if isinstance(weight, Constant):
        return torch.tensor([[float(entry) for entry in row] for row in weight.entries], dtype=torch.float64)
    if isinstance(weight, Parameter):
        return tensors[weight.name]
    if isinstance(weight, Sum):
        return torch.stack([torch_matrix(term, tensors) for term in weight.terms]).sum(0)
    if isinstance(weight, Product):
        return torch_matrix(weight.left, tensors) @ torch_matrix(weight.right, tensors)
    assert isinstance(weight, Softmax)
    powers = torch.exp((torch_matrix(weight.of, tensors)) / weight.temperature)
    return powers / powers.sum(dim=1 if weight.over == "sources" else 0, keepdim=True)


def forward(
    topology: Topology, blocks: Sequence[nn.Module], tensors: Mapping[str, Tensor], x0: Tensor, **kw: Any
) -> Tensor:
    """The output value by recursion from the output: no passes, no plan, no operator."""
    writer = {value: op for op in topology.ops for value in op.outputs}

    @cache
    def value_of(value: str) -> Tensor:
        if value == topology.stem:
            return x0
        op = writer[value]
        if isinstance(op, Block):
            result = blocks[op.number - 1](*map(value_of, op.reads), **kw)
            return result[0] if isinstance(result, tuple) else result
        row = torch_matrix(op.weight, tensors)[op.writes.index(value)]
        return sum((row[j] * value_of(source) for j, source in enumerate(op.reads)), torch.zeros_like(x0))

    return value_of(topology.output)
