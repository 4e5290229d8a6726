from fractions import Fraction
from itertools import chain, combinations
from random import Random

import pytest

from nas.hypervolume import hypervolume


def by_inclusion(points, reference):
    """The same by inclusion and exclusion of boxes: slow, and nothing like it."""
    total = Fraction(0)
    for some in chain.from_iterable(combinations(points, n) for n in range(1, len(points) + 1)):
        size = Fraction(1)
        for axis, end in enumerate(reference):
            size *= max(Fraction(0), end - max(point[axis] for point in some))
        total += size if len(some) % 2 else -size
    return total


@pytest.mark.parametrize("axes", [1, 2, 3, 4, 5])
def test_it_is_that_of_the_boxes_in_exact_numbers(axes):
    for seed in range(25):
        random = Random(f"{axes}/{seed}")
        points = [[Fraction(random.randrange(8), 3) for _ in range(axes)] for _ in range(random.randrange(8))]
        reference = [Fraction(random.randrange(3, 8), 3) for _ in range(axes)]
        assert hypervolume(points, reference) == by_inclusion(points, reference)


def test_what_is_dominated_or_outside_adds_nothing():
    front = [(0, 2, 1), (1, 1, 1), (2, 0, 0)]
    assert hypervolume(front, (3, 3, 3)) == hypervolume([*front, (2, 2, 2), (1, 1, 1), (0, 0, 3)], (3, 3, 3))
    assert hypervolume([], (1, 1)) == 0
    assert hypervolume([(1, 0)], (1, 1)) == 0


def test_a_front_of_hundreds_is_quick():
    random = Random(0)
    points = [[random.random() for _ in range(3)] for _ in range(400)]
    assert 0.8 < hypervolume(points, (1.0, 1.0, 1.0)) < 1.0


def test_axes_must_agree():
    with pytest.raises(ValueError, match="needs 2 axes"):
        hypervolume([(1, 2, 3)], (1, 2))
