from pathlib import Path

import pytest

from graphs import UserError
from graphs.families import FAMILIES
from graphs.table import BEGIN, END, equation, markdown, rewritten

PAGE = Path(__file__).parents[2] / "docs" / "families.md"


def test_the_page_holds_the_present_table():
    text = PAGE.read_text(encoding="utf-8")
    assert rewritten(text) == text, "run: make docs"


def test_every_family_has_a_row_an_equation_and_a_source():
    table = markdown()
    for name, family in FAMILIES.items():
        (row,) = [line for line in table.splitlines() if line.startswith(f"| `{name}`")]
        assert equation(family) in row
        assert "=" in equation(family), f"the docstring of {name} has no equation as a code literal"
        assert row.count(" | ") == 9


def test_numbers_by_hand():
    table = markdown()
    (residual,) = [line for line in table.splitlines() if line.startswith("| `residual`")]
    assert residual.endswith("| – | 0 | 1 | 3.0 + 3.0 | yes | 4096 | 13 | 3.61 |")


def test_only_what_is_between_the_markers_changes():
    assert rewritten(f"a\n{BEGIN}\nold\n{END}\nb").startswith(f"a\n{BEGIN}\nAt depth 12")
    assert rewritten(f"a\n{BEGIN}\nold\n{END}\nb").endswith(f"{END}\nb")
    for text in ("nothing", BEGIN, f"{END} {BEGIN}"):
        with pytest.raises(UserError, match="not both there"):
            rewritten(text)
