"""Two networks on the same seeds: the paired difference, its intervals, and what may be said of it."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

LEVEL = 0.95
DRAWS = 10_000  # of the bootstrap, where there are too many samples to take all
EXACT = 6  # seeds up to which every bootstrap sample is taken: 6^6 of them
POWER = 15.7  # 2 (1.96 + 0.84)^2: a two-sided test at 5 % sees a true difference in 80 % of cases


@dataclass(frozen=True, slots=True)
class Comparison:
    """A network beside the baseline on the same seeds; differences are network minus baseline.

    ``low`` and ``high`` are the 95 % bootstrap interval of the mean paired difference, ``t_low`` and ``t_high`` that of
    Student's t. ``gain`` is 1 where more is better, -1 where less is.
    """

    seeds: int
    mean: float
    baseline_mean: float
    difference: float
    low: float
    high: float
    t_low: float
    t_high: float
    gain: int = 1

    @property
    def excludes_zero(self) -> bool:
        """Whether both intervals do: with few seeds the bootstrap's alone is too short."""
        return not (self.low <= 0 <= self.high or self.t_low <= 0 <= self.t_high)

    @property
    def word(self) -> str:
        """All that may be said: better or worse, or that neither was shown."""
        if not self.excludes_zero:
            return "no difference shown"
        return "better" if self.difference * self.gain > 0 else "worse"


def compare(ours: Sequence[float], theirs: Sequence[float], gain: int = 1) -> Comparison | None:
    """The comparison of values paired by seed; None below two seeds, of which there is no interval."""
    gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
    if len(gaps) < 2:
        return None
    return Comparison(
        len(gaps),
        statistics.mean(ours),
        statistics.mean(theirs),
        statistics.mean(gaps),
        *bootstrap(gaps),
        *student(gaps),
        gain,
    )


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean: the bootstrap's percentiles, widened for few values; the same on every call.

    Percentiles alone are too narrow by sqrt((n-1)/n) and by Student's t over the normal distribution, so they are taken
    further out by both (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", expanded percentiles). Up to
    six values every sample with replacement is taken, else 10,000 of them.
    """
    import numpy as np

    count = len(values)
    if count <= EXACT:
        means = sorted(math.fsum(sample) / count for sample in product(values, repeat=count))
    else:
        drawn = np.random.default_rng(0).integers(0, count, (DRAWS, count))
        means = sorted(np.asarray(values, dtype=float)[drawn].mean(axis=1).tolist())
    out = statistics.NormalDist().cdf(-_t(count) * math.sqrt(count / (count - 1)))
    place = int(out * len(means))
    return means[place], means[-1 - place]


def student(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean by Student's t."""
    mean = statistics.mean(values)
    half = _t(len(values)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def interval_of(sd: float | None, count: int) -> float:
    """Half the 95 % interval of a mean of so many values by Student's t; 0 where it is not known."""
    return 0.0 if sd is None or count < 2 else _t(count) * sd / math.sqrt(count)


def _t(count: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, count - 1))


def seeds_for(sd: float, difference: float) -> int:
    """Seeds per network that show a true difference at 5 % in 80 % of cases: n = 15.7 sd^2 / difference^2.

    Pairing, which common random numbers give, only lowers it.
    """
    return math.ceil(POWER * (sd / difference) ** 2)


def detectable(sd: float, seeds: int) -> float:
    """The true difference that so many seeds show in 80 % of cases; the other way round than :func:`seeds_for`."""
    return sd * math.sqrt(POWER / seeds)


@dataclass(frozen=True, slots=True)
class Advantage:
    """As good as ``times`` the baseline's training compute; None beyond the curve, ``edge`` is its end there."""

    times: float | None
    edge: float | None = None
    above: bool = False

    def __str__(self) -> str:
        if self.times is not None:
            return f"{self.times:.2f}x"
        return f"{'more' if self.above else 'less'} than {self.edge:g}x"


def advantage(curve: Sequence[tuple[float, float]], difference: float, gain: int = 1) -> Advantage:
    """What share of compute the baseline needs for its own value at share 1 plus ``difference``.

    ``curve`` is the baseline's values by shares of the budget. It is made monotone by least squares (pooling), read
    between its points by straight lines in the logarithm of compute, and never extrapolated. Where it is flat, the
    middle of the flat part is meant.
    """
    shares = [share for share, _ in sorted(curve)]
    values = _monotone([gain * value for _, value in sorted(curve)])
    wanted = values[shares.index(1.0)] + gain * difference
    level = [share for share, value in zip(shares, values, strict=True) if math.isclose(value, wanted, abs_tol=1e-12)]
    if level:
        return Advantage(math.sqrt(level[0] * level[-1]))
    if wanted < values[0]:
        return Advantage(None, shares[0])
    if wanted > values[-1]:
        return Advantage(None, shares[-1], above=True)
    for (left, low), (right, high) in pairwise(zip(shares, values, strict=True)):
        if low < wanted < high:
            return Advantage(left * (right / left) ** ((wanted - low) / (high - low)))
    raise AssertionError("a monotone curve passes every value between its ends")


def _monotone(values: Sequence[float]) -> list[float]:
    """The closest rising values by least squares: neighbours in the wrong order share their mean."""
    pools: list[list[float]] = []
    for value in values:
        pools.append([value])
        while len(pools) > 1 and statistics.mean(pools[-2]) > statistics.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    return [mean for pool in pools for mean in [statistics.mean(pool)] * len(pool)]
