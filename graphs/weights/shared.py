"""Equal rules told from different ones without walking all of each: many rules share long expressions."""

import functools
from collections.abc import Hashable
from dataclasses import fields
from typing import Any

from graphs.weights.rule import Rule

Key = tuple[type[Rule], tuple[int, ...], tuple[Hashable, ...]]


class Shared:
    """Numbers rules so that two get one number exactly when they are equal. Each rule is looked at once.

    ``rules[number]`` is the first of its kind, ``children[number]`` are the numbers of what it is made of, and
    ``keys[number]`` is what tells it from others: its type, its children, and its own plain values.
    """

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.children: list[tuple[int, ...]] = []
        self.keys: list[Key] = []
        self._numbers: dict[Key, int] = {}
        self._seen: dict[int, tuple[Rule, int]] = {}  # by identity; the rule is held so that its id stays its own

    def number(self, weight: Rule) -> int:
        """The number of a rule; the rules inside it get theirs first."""
        stack = [weight]
        while stack:
            rule = stack[-1]
            missing = [child for child in rule.children if id(child) not in self._seen]
            if id(rule) not in self._seen and not missing:
                self._seen[id(rule)] = rule, self._numbered(rule)
            if missing:
                stack += reversed(missing)
            else:
                stack.pop()
        return self._seen[id(weight)][1]

    def _numbered(self, rule: Rule) -> int:
        children = tuple(self._seen[id(child)][1] for child in rule.children)
        own = tuple([value for name in _names(type(rule)) if not _made_of_rules(value := getattr(rule, name))])
        key = type(rule), children, own
        number = self._numbers.setdefault(key, len(self.rules))
        if number == len(self.rules):
            self.rules.append(rule)
            self.children.append(children)
            self.keys.append(key)
        return number


@functools.cache
def _names(kind: type[Rule]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))  # type: ignore[arg-type]  # every rule is a dataclass


def _made_of_rules(value: Any) -> bool:
    return isinstance(value, Rule) or (isinstance(value, tuple) and bool(value) and isinstance(value[0], Rule))
