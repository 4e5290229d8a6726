import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.front import dominates, nondominated_sort
from nas.layers import Layers

small = st.integers(0, 5).map(float)
arrivals = (
    st.integers(1, 3)
    .flatmap(lambda n: st.lists(st.tuples(*[small] * n), max_size=30))
    .flatmap(
        lambda vectors: st.permutations(range(len(vectors))).map(lambda order: [(one, vectors[one]) for one in order])
    )
)


@given(arrivals, st.floats(0.0, 1.0))
def test_they_are_what_sorting_everybody_gives_after_each_arrival(arrivals, keep):
    layers, seen = Layers(), {}
    for number, vector in arrivals:
        layers.add(number, vector)
        seen[number] = vector
        numbers = sorted(seen)
        ranks = dict(zip(numbers, nondominated_sort([seen[one] for one in numbers]), strict=True))
        order = sorted(numbers, key=lambda one: (ranks[one], seen[one][0], one))
        assert list(layers) == order
        assert {one: layers.rank(one) for one in numbers} == ranks
        assert [layers.place(one) for one in order] == list(range(len(order)))
        best = order[: math.ceil(keep * len(order))]
        assert list(layers.best(keep)) == best
        assert list(layers.front()) == [one for one in order if ranks[one] == 0]
        assert [one for one in order if layers.goes_on(one, keep)] == [
            one for one in order if ranks[one] == 0 or one in best
        ]


@given(arrivals, st.integers(0, 30))
def test_many_at_once_are_what_they_are_one_by_one(arrivals, first):
    one_by_one, at_once = Layers(), Layers(dict(arrivals[:first]))
    for number, vector in arrivals:
        one_by_one.add(number, vector)
        at_once.add(number, vector)
    assert list(at_once) == list(one_by_one)
    assert [at_once.rank(one) for one in at_once] == [one_by_one.rank(one) for one in one_by_one]


def test_many_at_once_take_few_comparisons(monkeypatch):
    rng, calls = random.Random(0), []
    for module in ("nas.front", "nas.layers"):
        monkeypatch.setattr(f"{module}.dominates", lambda a, b: calls.append(1) or dominates(a, b))
    count = 2000
    layers = Layers({number: (rng.random(), rng.random()) for number in range(count)})
    assert len(calls) < count * math.log2(count)
    assert len(layers) == count


def test_who_comes_again_takes_the_new_place():
    layers = Layers({1: (1.0, 1.0), 2: (2.0, 2.0), 3: (0.0, 9.0)})
    layers.add(1, (1.0, 1.0))
    assert list(layers) == [3, 1, 2]
    layers.add(1, (3.0, 3.0))
    assert list(layers) == [3, 2, 1]
    assert (len(layers), 1 in layers, 4 in layers, layers[1]) == (3, True, False, (3.0, 3.0))


def test_nan_has_no_place():
    layers = Layers()
    with pytest.raises(ValueError, match="holds NaN"):
        layers.add(1, (0.0, math.nan))
    assert len(layers) == 0
