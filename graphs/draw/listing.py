"""The plan as lines that fit a panel: long lists of values and the middle of a long plan are left out."""

import re

from graphs.draw.labels import printable, shorten
from graphs.plan import Plan

ITEMS = (8, 5, 3)  # of a longer list of values so many places are kept, the most with which its line fits


def listing(plan: Plan, *, columns: int = 132, ends: int = 20) -> list[str]:
    """``str(plan)`` in at most ``columns`` columns; of a long plan the first and last ``ends`` steps."""
    lines = [printable(line) for line in str(plan).splitlines()]
    start = next((i for i, line in enumerate(lines) if re.match(r"\s*0\s", line)), len(lines))
    stop = start + len(plan.steps)
    steps = [_brief(line, columns) for line in lines[start:stop]]
    left_out = len(steps) - 2 * ends
    if left_out > 4:  # a line that says "3 steps" saves little
        steps = [*steps[:ends], f"   …  {left_out} steps left out", *steps[-ends:]]
    return [shorten(line, columns) for line in (*lines[:start], *steps, *lines[stop:])]


def _brief(line: str, columns: int) -> str:
    """The line with the middles of its long lists left out, as few as make it fit."""
    return next((short for most in ITEMS if len(short := _lists(line, most)) <= columns), _lists(line, ITEMS[-1]))


def _lists(line: str, most: int) -> str:
    """Lists of at most ``most`` places: in brackets of either kind and behind ``free``."""

    def round_brackets(found: re.Match[str]) -> str:
        return f"({_few(found[1], ', ', most)})"

    def square_brackets(found: re.Match[str]) -> str:
        return f"[{_few(found[1], ' ', most)}]"

    line = re.sub(r"\(([^()]*)\)", round_brackets, line)
    line = re.sub(r"\[([^\[\]]*)\]", square_brackets, line)
    head, free, values = line.rpartition("   free ")
    return f"{head}{free}{_few(values, ' ', most)}" if free else line


def _few(text: str, separator: str, most: int) -> str:
    items = text.split(separator)
    if len(items) <= most:
        return text
    return separator.join([*items[: most - 2], f"… {len(items) - most + 1} more …", items[-1]])


def hard_spaces(line: str) -> str:
    """The same line with runs of spaces that an SVG does not collapse; single spaces stay, so that it can be found."""
    return re.sub(r" {2,}|^ ", lambda found: "\u00a0" * len(found[0]), line)
