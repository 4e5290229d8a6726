import pytest
from graph_samples import FAMILIES

from graphs import families, lower
from graphs.draw.listing import hard_spaces, listing


@pytest.mark.parametrize("name", FAMILIES)
def test_a_short_plan_is_whole(name):
    plan = lower(FAMILIES[name]())
    assert len(plan.steps) <= 44
    if max(map(len, str(plan).splitlines())) <= 100:
        assert listing(plan) == str(plan).splitlines()


@pytest.mark.parametrize("name", families.FAMILIES)
def test_it_fits(name):
    plan = lower(families.FAMILIES[name](48))
    lines = listing(plan)
    assert max(map(len, lines)) <= 132
    assert len(lines) <= 2 + 44 + 1
    assert lines[0] == str(plan).splitlines()[0]
    assert lines[-1] == str(plan).splitlines()[-1]


@pytest.mark.parametrize("depth", [44, 45, 48])
def test_the_middle_of_a_long_plan_is_counted(depth):
    lines = listing(lower(families.wiring(depth)))
    shown = [int(line.split()[0]) for line in lines[2:-1] if "…" not in line]
    (mark,) = [line for line in lines if "left out" in line] or [""]
    left_out = depth - len(shown)
    assert mark == (f"   …  {left_out} steps left out" if depth > 44 else "")
    assert shown == ([*range(20), *range(depth - 20, depth)] if left_out else [*range(depth)])


def test_long_lists_lose_their_middle():
    line = listing(lower(families.to_output(40)))[-2]
    assert "(x0, y1, y2, y3, y4, y5, … 34 more …, y40)" in line
    assert line.endswith("free x0 y1 y2 y3 y4 y5 … 34 more … y40")
    tight = listing(lower(families.to_output(40)), columns=100)[-2]
    assert "(x0, … 39 more …, y40)" in tight
    assert len(tight) <= 100


def test_hard_spaces():
    assert hard_spaces("  1   a b") == "\u00a0\u00a01\u00a0\u00a0\u00a0a b"
    assert hard_spaces(" 1 a") == "\u00a01 a"
