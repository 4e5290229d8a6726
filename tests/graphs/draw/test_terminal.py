import pytest

from graphs import Block, Constant, Mix, Parameter, Topology, TopologyError, families
from graphs.draw import text

DIFFERENCE = Topology((Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("o",), Constant(((0.25, -1),)))), "o", 1)


def row_of(weight, depth):
    """A topology whose output mixes all by one row."""
    ops = [Block(n, ("x0",), f"y{n}") for n in range(1, depth + 1)]
    return Topology((*ops, Mix(("x0", *(f"y{n}" for n in range(1, depth + 1))), ("o",), weight)), "o", depth)


def test_a_small_matrix():
    assert text(DIFFERENCE).splitlines() == [
        "            x0   1",
        "  block 1    █   ·",
        "   output    ▒  -█",
    ]


def test_marks_by_weight():
    row = (1, 0.74, 0.5, 0.49, 0.25, 0.1, -0.6, 0)
    assert text(row_of(Constant((row,)), 7)).splitlines()[-1].split()[1:] == ["█", "▓", "▓", "▒", "▒", "░", "-▓", "·"]


def test_a_matrix_of_many_rows_has_a_character_per_weight():
    lines = text(families.to_output(48)).splitlines()
    assert lines[0].split() == ["x0", *map(str, range(5, 46, 5))]
    assert lines[0].index("40") == 10 + 40, "a source's name stands above its column"
    assert lines[20] == " block 20 " + "·" * 19 + "█"
    assert lines[49] == "   output " + "█" * 49
    assert lines[50].strip() == "░▒▓█ of the row's largest weight"
    assert len(lines) == 51


def test_negative_weights_in_one_character():
    row = (1, -1, -0.74, -0.49, -0.1, *(0,) * 24, -0.25)
    assert text(row_of(Constant((row,)), 29)).splitlines()[-2] == "   output █#=~-" + "·" * 24 + "~"
    assert "-~=# negative" in text(row_of(Constant((row,)), 29))


@pytest.mark.parametrize("name", families.FAMILIES)
def test_eighty_columns(name):
    for depth in (12, 16, 17, 22, 23, 24, 48):
        drawn = text(families.FAMILIES[name](depth))
        assert max(map(len, drawn.splitlines())) <= 80, depth
        assert drawn.count(" output ") == max(drawn.count("port "), 1)


def test_eighty_columns_at_any_depth():
    for depth in (*range(1, 80), 130, 138, 139, 210):
        lines = text(families.to_output(depth)).splitlines()
        assert max(map(len, lines)) <= 80, depth
        assert len(lines) <= 75


def test_names_while_they_fit():
    assert text(families.residual(16)).splitlines()[0].split() == ["x0", *map(str, range(1, 17))]
    assert text(families.residual(22)).splitlines()[0].split() == ["x0", *map(str, range(1, 23))]
    assert text(families.residual(23)).splitlines()[0].split() == ["x0", "5", "10", "15", "20"]
    assert text(families.residual(12), limit=12).splitlines()[0].split() == ["x0", "5", "10"]
    assert text(families.residual(22), columns=60).splitlines()[0].split() == ["x0", "5", "10", "15", "20"]


def test_a_mark_of_several_weights_is_the_strongest():
    ops = [Block(n, (f"y{n - 1}" if n > 1 else "x0",), f"y{n}") for n in range(1, 141)]
    sparse = Topology((*ops, Mix(("x0", "y77", "y140"), ("o",), Constant(((1.5, -5, 5),)))), "o", 140)
    lines = text(sparse).splitlines()
    assert lines[1].startswith("  block 3 █")
    assert lines[2].startswith("  block 6 ·█")
    last = next(line for line in lines if "output" in line)
    assert (last[10], last[10 + 77 // 3], last[10 + 140 // 3]) == ("▒", "#", "█")
    assert last.count("·") == 141 // 3 - 3
    assert last.endswith("  ≤ 5"), "of the rows that the line stands for"
    assert lines[1].endswith("  ≤ 1")
    assert "the strongest of 3 x 3 weights" in " ".join(" ".join(lines).split())


def test_the_largest_of_each_row_where_they_differ():
    lines = text(families.ancre(48)).splitlines()
    assert [lines[r].split()[-2:] for r in (1, 3, 49)] == [["≤", "1"], ["≤", "3.5"], ["≤", "74057"]]
    assert "≤" not in text(families.residual(48))
    assert text(families.hyper(4)).splitlines()[5].endswith("█  ≤ 4")


def test_zeros_that_can_be_learned():
    lines = text(families.dense(3, inner=False)).splitlines()
    assert lines[2] == "  block 2    ∘   █   ·   ·"
    assert lines[-1].strip() == "∘ zero now, can be learned"
    assert "∘" not in text(families.dense(3))
    assert text(families.dense(48, inner=False)).count("∘") == 48 * 49 // 2 + 1


def test_weights_per_token(monkeypatch):
    def refuse(weight, values=None):
        raise TopologyError("per token") if isinstance(weight, Parameter) else AssertionError(weight)

    topology = row_of(Parameter("w", ((0, 1, 0),), ((False, True, True),)), 2)
    monkeypatch.setattr("graphs.matrix.evaluate", refuse)
    monkeypatch.setattr("graphs.draw.connections.evaluate", refuse)
    lines = text(topology).splitlines()
    assert lines[3].split() == ["output", "·", "?", "?"]
    assert lines[4].strip() == "? per token, of no fixed weight"


def test_a_matrix_per_port():
    topology = Topology((Block(1, ("x0",), "y1"), Block(2, ("x0", "y1"), "y2", ("q", "in"))), "y2", 2)
    first, second = text(topology).split("\n\n")
    assert first.splitlines()[0] == "port in"
    assert first.splitlines()[3].split() == ["block", "2", "·", "█", "·"]
    assert second.splitlines()[0] == "port q"
    assert second.splitlines()[2].split() == ["block", "1"], "block 1 has no such port"
    assert second.splitlines()[3].split() == ["block", "2", "█", "·", "·"]
