"""What every weight rule is: an expression of shape (m, k) over the rules it is made of."""

import functools
import operator
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from graphs.errors import TopologyError
from graphs.weights.grain import Grain, join
from graphs.weights.numbers import Flags, Matrix, full

R = TypeVar("R", bound="Rule")
Values = Mapping[str, Matrix]


def _children_first(rule: "Rule", name: str, ask: Callable[["Rule"], object]) -> None:
    """Ask everything inside ``rule`` that does not yet know: long expressions are then not asked recursively."""
    stack = [(child, False) for child in rule.children if name not in vars(child)]
    while stack:
        inner, ready = stack.pop()
        if ready:
            ask(inner)
        elif name not in vars(inner):
            stack.append((inner, True))
            stack += [(child, False) for child in inner.children]


def _once(method: Callable[[R], Flags]) -> Callable[[R], Flags]:
    """The same method, worked out once per rule: one that many others share is asked by each of them."""
    name = f"_{method.__name__}"

    @functools.wraps(method)
    def remembered(self: R) -> Flags:
        known: Flags | None = vars(self).get(name)
        if known is None:
            _children_first(self, name, operator.methodcaller(method.__name__))
            known = vars(self)[name] = method(self)
        return known

    return remembered


class _Kind(ABCMeta):
    """Rules are subclasses in fact and never registered: what a rule is need not be asked the long way."""

    __instancecheck__ = type.__instancecheck__


class Rule(metaclass=_Kind):
    """How a mix gets its matrix; subclasses are frozen dataclasses whose fields are plain values and rules.

    A new rule is one subclass here, its torch counterpart in :mod:`graphs.rule_tensors`, and its scalars in
    :mod:`graphs.scalars`.
    """

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        for name in ("support", "units"):
            if name in vars(cls):
                setattr(cls, name, _once(vars(cls)[name]))

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Outputs m and sources k."""

    @property
    def children(self) -> "tuple[Rule, ...]":
        """The rules this one is made of, in order."""
        return ()

    @functools.cached_property
    def grain(self) -> Grain:
        """What one entry is; that of the finest child unless a rule says otherwise."""
        _children_first(self, "grain", operator.attrgetter("grain"))
        return join(child.grain for child in self.children)

    @functools.cached_property
    def per_token(self) -> bool:
        """Whether the matrix is computed from hidden states, each token its own."""
        _children_first(self, "per_token", operator.attrgetter("per_token"))
        return any(child.per_token for child in self.children)

    @functools.cached_property
    def random(self) -> bool:
        """Whether the matrix is drawn anew in each training step."""
        _children_first(self, "random", operator.attrgetter("random"))
        return any(child.random for child in self.children)

    @functools.cached_property
    def columns(self) -> tuple[tuple[int, bool], ...]:
        """For each column how many of its entries can be non-zero, and whether any of these is not fixed at one."""
        on, unit = self.support(), self.units()
        if len(on) == 1:
            return tuple([(int(live), live and not one) for live, one in zip(on[0], unit[0], strict=True)])
        return tuple(
            (sum(live), any(a and not b for a, b in zip(live, one, strict=True)))
            for live, one in zip(zip(*on, strict=True), zip(*unit, strict=True), strict=True)
        )

    def __getstate__(self) -> dict[str, Any]:
        """What is remembered is not copied along."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    @abstractmethod
    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        """The matrix from the matrices of ``children``; TopologyError where numbers cannot say (see evaluate)."""

    @_once
    def support(self) -> Flags:
        """Which entries can ever be non-zero: an entry fixed at zero is no edge."""
        return full(True, self.shape)

    @_once
    def units(self) -> Flags:
        """Which entries are fixed at one or minus one, so that they cost no multiplication."""
        return full(False, self.shape)


def walk(weight: Rule, seen: set[int] | None = None) -> Iterator[Rule]:
    """Every rule inside ``weight``, itself included, once each, children first.

    What is in ``seen``, by identity, is left out; the rest is added to it.
    """
    seen = set() if seen is None else seen
    stack = [(weight, False)]
    while stack:
        rule, ready = stack.pop()
        if ready:
            yield rule
        elif id(rule) not in seen:
            seen.add(id(rule))
            stack.append((rule, True))
            stack.extend((child, False) for child in reversed(rule.children))


def evaluate(weight: Rule, values: Values | None = None) -> Matrix:
    """The matrix of a rule: at its initial values, or at ``values`` (full matrices by parameter name).

    An entry finer than a scalar is given as its mean gain: every initial value is a multiple of the identity, so
    at the start that is exact. Random rules give their mean. Exact (ints and Fractions) as long as the inputs are
    and no function needs floats. TopologyError where the weights are computed per token from random numbers, or
    per token at given ``values``.
    """
    done: dict[int, Matrix] = {}
    for rule in walk(weight):
        done[id(rule)] = rule.compute(tuple(done[id(child)] for child in rule.children), values)
    return done[id(weight)]


def support(weight: Rule) -> Flags:
    """Which entries can ever be non-zero."""
    return weight.support()


def same_shape(what: str, rules: tuple[Rule, ...]) -> None:
    if len({rule.shape for rule in rules}) != 1:
        raise TopologyError(f"a {what} of weights of different shapes: {[rule.shape for rule in rules]}")
