import math

from nas.records import Status
from nas.samplers.known import Known, ranks
from nas.sampling import Told
from search_space.point import Point

POINT = Point((("family", "residual"), ("depth", 2)))


def told(status, values, source="local", digest="d"):
    return Told(POINT, status, values, source, digest)


def test_partial_and_broken_results_are_never_among_the_ranked():
    good = told(Status.COMPLETE, (0.5, 1.0))
    others = [told(status, (0.9, 0.0)) for status in (None, *Status) if status is not Status.COMPLETE]
    broken = [told(Status.COMPLETE, (math.inf, 1.0)), told(Status.COMPLETE, None)]
    assert Known([*others, good, *broken]).complete == (good,)


def test_counts_and_digests_are_of_every_ask_whatever_became_of_it():
    known = Known([told(Status.REJECTED, None, "random", "a"), told(None, None, "local", "b")])
    assert (known.count("random"), known.count("local"), known.count("tpe")) == (1, 1, 0)
    assert [known.is_new(digest) for digest in ("a", "b", "c", None)] == [False, False, True, False]
    assert [known.is_new(digest) for digest in ("a", "b", "c", None)] == [False, False, True, False]


def test_ranks_are_fronts():
    points = [told(Status.COMPLETE, values) for values in ((0.9, 2.0), (0.8, 1.0), (0.7, 3.0))]
    assert ranks(points, lambda values: (-values[0], values[1])) == [0, 0, 1]
