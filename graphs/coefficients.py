"""The learned numbers of a plan as a module: weight rules evaluated with torch."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graphs.errors import CompileError
from graphs.ops.reference import without_autocast
from graphs.plan import Plan
from graphs.weights import Constant, Matrix, Number, Parameter, Product, Softmax, Sum, Weight, parameters


class Coefficients(nn.Module):
    """Holds one ``nn.Parameter`` per named parameter: its matrix, or the vector of its learned entries.

    They stay at least fp32: ``.half()`` and ``.to(torch.bfloat16)`` move them and leave their dtype alone,
    because softmax and products of coefficients lose in 16 bits what short runs measure. Published methods
    train them without weight decay; ``no_weight_decay`` tells a training loop so.
    """

    no_weight_decay = True

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._weights = tuple(mix.weight for mix in plan.mixes)
        self._rules = {rule.name: rule for weight in self._weights for rule in parameters(weight)}
        for name, rule in self._rules.items():
            if hasattr(self, name):
                raise CompileError(f"the parameter name {name!r} is taken by torch.nn.Module; rename the parameter")
            self.register_parameter(name, nn.Parameter(_learned(rule)))
            if rule.learned is not None:
                self._constant(f"_{name}_fixed", rule.initial)
                self.register_buffer(f"_{name}_mask", torch.tensor(rule.learned), persistent=False)
        for number, weight in enumerate(self._weights):
            if not isinstance(weight, Constant):
                self._constants(weight, f"_constant{number}")

    def _constant(self, name: str, rows: Matrix) -> None:
        self.register_buffer(name, torch.tensor(_floats(rows), dtype=_dtype()), persistent=False)

    def _constants(self, weight: Weight, path: str) -> None:
        """Fixed matrices inside rules become buffers once, named by their place in the rule."""
        match weight:
            case Constant(entries=entries):
                self._constant(path, entries)
            case Softmax(of=inner):
                self._constants(inner, f"{path}_of")
            case Sum(terms=terms):
                for i, term in enumerate(terms):
                    self._constants(term, f"{path}_{i}")
            case Product(left=left, right=right):
                self._constants(left, f"{path}_left")
                self._constants(right, f"{path}_right")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            low = moved.is_floating_point() and moved.dtype not in (torch.float32, torch.float64)
            return tensor.to(device=moved.device) if low else moved

        return super()._apply(keep_precision, recurse)  # type: ignore[no-untyped-call]

    def forward(self, number: int) -> Tensor | Matrix:
        """The matrix of the plan's mix ``number``, shape (m, k): rows of plain numbers where fixed, else a tensor."""
        weight = self._weights[number]
        return weight.entries if isinstance(weight, Constant) else self._matrix(weight, f"_constant{number}")

    def _matrix(self, weight: Weight, path: str) -> Tensor:
        match weight:
            case Constant():
                constant: Tensor = getattr(self, path)
                return constant
            case Parameter():
                return self._parameter(weight)
            case Softmax(of=inner, temperature=temperature, over=over):
                logits = self._matrix(inner, f"{path}_of")
                return torch.softmax(logits / temperature, dim=-1 if over == "sources" else -2)
            case Sum(terms=terms):
                first, *others = (self._matrix(term, f"{path}_{i}") for i, term in enumerate(terms))
                for other in others:
                    first = first + other
                return first
            case Product(left=left, right=right):
                first, second = self._matrix(left, f"{path}_left"), self._matrix(right, f"{path}_right")
                with without_autocast(first):
                    return first @ second

    def _parameter(self, rule: Parameter) -> Tensor:
        value: Tensor = getattr(self, rule.name)
        if rule.learned is None:
            return value
        fixed: Tensor = getattr(self, f"_{rule.name}_fixed")
        mask: Tensor = getattr(self, f"_{rule.name}_mask")
        return fixed.masked_scatter(mask, value)

    def values(self) -> Mapping[str, Matrix]:
        """The present full matrices by parameter name, as plain numbers."""
        with torch.no_grad():
            full = {name: self._parameter(rule).double().tolist() for name, rule in self._rules.items()}
        return {name: tuple(map(tuple, rows)) for name, rows in full.items()}


def _dtype() -> torch.dtype:
    """Torch's default dtype, but at least fp32."""
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def _floats(rows: tuple[tuple[Number, ...], ...]) -> list[list[float]]:
    return [[float(entry) for entry in row] for row in rows]


def _learned(rule: Parameter) -> Tensor:
    """The initial values of the learned entries, row by row; the whole matrix where all are."""
    full = torch.tensor(_floats(rule.initial), dtype=_dtype())
    return full if rule.learned is None else full[torch.tensor(rule.learned)]
