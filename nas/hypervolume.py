"""The hypervolume of points: how much of the space up to a reference point they dominate, exactly."""

from collections.abc import Sequence
from typing import Any

Vector = Sequence[Any]  # of floats, or of fractions where tests want no rounding


def hypervolume(points: Sequence[Vector], reference: Vector) -> Any:
    """The measure of what some point dominates and the reference bounds; smaller is better on every axis.

    A point that is not below the reference on every axis adds nothing. Exact up to rounding: a sweep in two dimensions,
    slices of one dimension less in more, so that n points take about n log n, in three dimensions n^2 log n steps.
    Raises ValueError where a point has another number of axes than the reference.
    """
    if any(len(point) != len(reference) for point in points):
        raise ValueError(f"every point needs {len(reference)} axes, as the reference has")
    inside = {tuple(point) for point in points if all(x < r for x, r in zip(point, reference, strict=True))}
    return _measure(sorted(inside, key=lambda point: point[::-1]), tuple(reference))


def _measure(points: list[tuple[Any, ...]], reference: tuple[Any, ...]) -> Any:
    """The same of distinct points inside, sorted by their last axis."""
    if not points:
        return 0
    if len(reference) == 1:
        return reference[0] - points[0][0]
    if len(reference) == 2:
        total, left = 0, reference[0]
        for x, y in points:  # upwards: only what reaches further to the left adds something
            if x < left:
                total += (left - x) * (reference[1] - y)
                left = x
        return total
    total = 0
    below: list[tuple[Any, ...]] = []  # without their last axis, none dominating another
    for place, point in enumerate(points):
        flat = point[:-1]
        if not any(all(a <= b for a, b in zip(one, flat, strict=True)) for one in below):
            below = [one for one in below if not all(a <= b for a, b in zip(flat, one, strict=True))] + [flat]
        top = points[place + 1][-1] if place + 1 < len(points) else reference[-1]
        if top > point[-1]:
            total += (top - point[-1]) * _measure(sorted(below, key=lambda one: one[::-1]), reference[:-1])
    return total
