"""Rules that stand for themselves: fixed, learned, random, and computed from hidden states."""

import functools
import math
from dataclasses import dataclass
from typing import Literal

from graphs.errors import TopologyError
from graphs.weights.grain import CHANNEL, MATRIX, SCALAR, Grain
from graphs.weights.numbers import PLAIN, Flags, Matrix, Number, finite, matrix, shape_of
from graphs.weights.rule import Rule, Values

Start = Literal["zeros", "normal"]
Norm = Literal["none", "rms", "layer"]


def checked_name(name: str) -> str:
    """``name`` if it can name a parameter."""
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        raise TopologyError(f"parameter name {name!r} is not a word of letters, digits and _ that starts with a letter")
    return name


def checked_group(name: str, group: str) -> None:
    """TopologyError where ``group`` is no name of an optimiser group."""
    if not isinstance(group, str) or not group.isprintable() or not group or " " in group:
        raise TopologyError(f"parameter {name}: the optimiser group {group!r} is not one printable word")


@dataclass(frozen=True)
class Constant(Rule):
    """A fixed matrix, ``entries`` of shape (m, k)."""

    entries: Matrix

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", matrix(self.entries))

    @property
    def shape(self) -> tuple[int, int]:
        return shape_of(self.entries)

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        return self.entries

    def support(self) -> Flags:
        return tuple([tuple([entry != 0 for entry in row]) for row in self.entries])

    def units(self) -> Flags:
        return tuple([tuple([abs(entry) == 1 for entry in row]) for row in self.entries])


@dataclass(frozen=True)
class Parameter(Rule):
    """A learned matrix. Two parameters with one ``name`` are one parameter (a tie).

    ``initial`` has shape (m, k). ``learned`` masks the entries that train; the others stay at their initial
    value and cost no parameter (None: all train). ``group`` names the optimiser group, a key of
    :data:`graphs.weights.GROUPS` or a name of the user's own. An entry of a finer ``grain`` starts as its initial
    value times the identity: a gain per channel, or a stacked identity for a matrix.
    """

    name: str
    initial: Matrix
    learned: tuple[tuple[bool, ...], ...] | None = None
    group: str = "mix"
    grain: Grain = SCALAR  # a field here, worked out in other rules

    def __post_init__(self) -> None:
        checked_name(self.name)
        checked_group(self.name, self.group)
        object.__setattr__(self, "initial", matrix(self.initial))
        if self.learned is not None:
            mask = tuple(tuple(bool(flag) for flag in row) for row in self.learned)
            if tuple(map(len, mask)) != tuple(map(len, self.initial)):
                raise TopologyError(f"parameter {self.name}: the mask's shape differs from the matrix's")
            if not any(map(any, mask)):
                raise TopologyError(f"parameter {self.name}: no entry is learned; use Constant")
            object.__setattr__(self, "learned", None if all(map(all, mask)) else mask)

    @property
    def shape(self) -> tuple[int, int]:
        return shape_of(self.initial)

    def trains(self, i: int, j: int) -> bool:
        """Whether entry (i, j) is learned."""
        return self.learned is None or self.learned[i][j]

    @property
    def edges(self) -> int:
        """Number of learned entries."""
        m, k = self.shape
        return m * k if self.learned is None else sum(map(sum, self.learned))

    def size(self, dim: int) -> int:
        """Number of learned scalars for hidden states of ``dim`` channels."""
        return self.edges * self.grain.size(dim)

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        return self.initial if values is None or self.name not in values else values[self.name]

    def support(self) -> Flags:
        m, k = self.shape
        if self.learned is None:
            return ((True,) * k,) * m
        return tuple(
            tuple(trains or entry != 0 for trains, entry in zip(*rows, strict=True))
            for rows in zip(self.learned, self.initial, strict=True)
        )

    def units(self) -> Flags:
        m, k = self.shape
        if self.learned is None:
            return ((False,) * k,) * m
        return tuple(
            tuple(not trains and abs(entry) == 1 for trains, entry in zip(*rows, strict=True))
            for rows in zip(self.learned, self.initial, strict=True)
        )


@dataclass(frozen=True)
class Bernoulli(Rule):
    """Ones and zeros drawn anew in each training step, one with probability ``keep``; in evaluation ``keep`` itself.

    One draw a step serves all samples. ``name`` tells draws apart: rules of one name are one draw.
    """

    name: str
    keep: Matrix

    def __post_init__(self) -> None:
        checked_name(self.name)
        object.__setattr__(self, "keep", matrix(self.keep))
        for row in self.keep:
            for entry in row:
                if not 0 <= entry <= 1:
                    raise TopologyError(f"a keep probability of {entry!r}; 0 to 1 was expected")

    @property
    def shape(self) -> tuple[int, int]:
        return shape_of(self.keep)

    @functools.cached_property
    def random(self) -> bool:
        return True

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        return self.keep

    def support(self) -> Flags:
        return tuple(tuple(entry != 0 for entry in row) for row in self.keep)

    def units(self) -> Flags:
        return tuple(tuple(entry == 1 for entry in row) for row in self.keep)


@dataclass(frozen=True)
class Generated(Rule):
    """Weights computed from hidden states, token by token, by a learned linear map of the mix's ``keys``.

    ``keys`` are places in the mix's list of keys. With ``each``, column j is computed from key j alone by one map
    that all keys share: entry (i, j) is ``w_i . norm(key_j)``, so k is the number of keys. Otherwise every entry
    is computed from all keys side by side. ``norm`` is over the channels that a map reads (of one key, or of all
    of them together), with a learned ``gain``. ``hidden`` puts a layer of that many GELU units before the last map
    (0: none); its weights start normal with variance 1 / fan-in. The last map starts at ``zeros`` (so the weights
    are zero at first) or ``normal``. A channel ``grain`` has a map per channel; with a fraction ``grain`` each part
    of a key is read on its own, by maps that the parts share.
    """

    name: str
    outputs: tuple[int, int]
    keys: tuple[int, ...]
    each: bool = False
    norm: Norm = "rms"
    gain: bool = False
    hidden: int = 0
    start: Start = "zeros"
    group: str = "decayed"
    grain: Grain = SCALAR  # a field here, worked out in other rules

    def __post_init__(self) -> None:
        checked_name(self.name)
        checked_group(self.name, self.group)
        object.__setattr__(self, "outputs", tuple(self.outputs))
        object.__setattr__(self, "keys", tuple(self.keys))
        if not self.keys or min(self.outputs) < 1 or min(self.keys) < 0 or self.hidden < 0:
            raise TopologyError(f"generated weight {self.name}: it needs keys, outputs and a hidden width of 0 or more")
        if self.each and self.outputs[1] != len(self.keys):
            raise TopologyError(
                f"generated weight {self.name} has {len(self.keys)} keys and {self.outputs[1]} columns; "
                "computed from each key, it has a column per key"
            )
        if self.norm not in ("none", "rms", "layer"):
            raise TopologyError(f"generated weight {self.name}: norm {self.norm!r}; none, rms or layer was expected")
        if self.start not in ("zeros", "normal"):
            raise TopologyError(f"generated weight {self.name}: start {self.start!r}; zeros or normal was expected")
        if self.gain and self.norm == "none":
            raise TopologyError(f"generated weight {self.name}: a gain without a norm")
        parted = self.grain.parts not in (1, None)
        if self.grain == MATRIX or (parted and not self.each) or (self.each and self.grain == CHANNEL):
            raise TopologyError(f"generated weight {self.name}: a {self.grain} grain cannot be generated like this")
        if self.each and self.hidden:
            raise TopologyError(f"generated weight {self.name}: a hidden layer reads all keys; use each=False")

    @property
    def shape(self) -> tuple[int, int]:
        return self.outputs

    @functools.cached_property
    def per_token(self) -> bool:
        return True

    def fan_in(self, dim: int) -> int:
        """Channels that one map reads."""
        return dim // self.grain.width(dim) if self.each and self.grain != CHANNEL else dim * len(self.keys)

    def maps(self, dim: int) -> int:
        """Outputs of the last map."""
        m, k = self.outputs
        if self.each:
            return m * (self.grain.width(dim) if self.grain.full else 1)
        return m * k * self.grain.size(dim)

    def size(self, dim: int) -> int:
        """Number of learned scalars for hidden states of ``dim`` channels."""
        fan_in, maps = self.fan_in(dim), self.maps(dim)
        gain = fan_in if self.gain else 0
        return gain + (fan_in * self.hidden + self.hidden * maps if self.hidden else fan_in * maps)

    def flops(self, dim: int) -> int:
        """FLOPs per token of the maps, 2 per multiply-add; norm and activation are left out, as in blocks."""
        times = len(self.keys) * self.grain.width(dim) if self.each else 1
        fan_in, maps = self.fan_in(dim), self.maps(dim)
        return 2 * times * (fan_in * self.hidden + self.hidden * maps if self.hidden else fan_in * maps)

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        if values is not None or self.start != "zeros":
            raise TopologyError(f"the weights {self.name} are computed per token; they are no one matrix")
        return ((0,) * self.outputs[1],) * self.outputs[0]


def row(entries: tuple[Number, ...]) -> Constant:
    """The fixed matrix of one output. Equal rows of whole numbers are one object: what it remembers serves them all."""
    return _row(entries) if set(map(type, entries)) == PLAIN else Constant((entries,))


@functools.lru_cache(maxsize=1024)
def _row(entries: tuple[int, ...]) -> Constant:
    return Constant((entries,))


@functools.lru_cache(maxsize=256)
def ones(outputs: int, sources: int) -> Constant:
    """The plain sum: every output is the sum of all sources."""
    return Constant(((1,) * sources,) * outputs)


def identity(size: int) -> Constant:
    """Every output is its own source."""
    return Constant(tuple(tuple(int(i == j) for j in range(size)) for i in range(size)))


def checked_positive(what: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (finite(value) and value > 0):
        raise TopologyError(f"{what} is {value!r}; a number above 0 was expected")
    return float(value) if math.isfinite(value) else value
