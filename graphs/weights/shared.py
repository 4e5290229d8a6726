"""Equal rules told from different ones without walking all of each: many rules share long expressions."""

from collections.abc import Hashable
from dataclasses import fields
from typing import Any

from graphs.weights.rule import Rule


class Shared:
    """Numbers rules so that two get one number exactly when they are equal. Each rule is looked at once.

    ``rules[number]`` is the first of its kind and ``children[number]`` are the numbers of what it is made of.
    """

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.children: list[tuple[int, ...]] = []
        self._numbers: dict[Hashable, int] = {}
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
        own = tuple(
            value
            for field in fields(rule)  # type: ignore[arg-type]  # every rule is a dataclass
            if not _made_of_rules(value := getattr(rule, field.name))
        )
        number = self._numbers.setdefault((type(rule), children, own), len(self.rules))
        if number == len(self.rules):
            self.rules.append(rule)
            self.children.append(children)
        return number


def _made_of_rules(value: Any) -> bool:
    return isinstance(value, Rule) or (isinstance(value, tuple) and any(isinstance(item, Rule) for item in value))
