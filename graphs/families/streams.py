"""What the families of n parallel streams share: how the stem becomes streams, and streams the output."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from graphs.builder import Builder
from graphs.families.arguments import choice, whole
from graphs.topology import Norm, Setting
from graphs.weights import Constant, Parameter, Weight, ones

MAX_STREAMS = 16

Expand = Literal["copy", "first", "learned"]
Collapse = Literal["sum", "mean", "learned"]


def checked_streams(streams: int) -> int:
    """``streams`` if a block can mix all pairs of so many."""
    return whole("streams", streams, 1, MAX_STREAMS, "for each block mixes all pairs of them")


def expanded(build: Builder, streams: int, how: Expand) -> tuple[str, ...]:
    """The first state: copies of the stem, the stem in stream 0 alone (zeros elsewhere), or learned multiples of
    it, one number a stream, that start as copies."""
    choice("expand", how, Expand)
    weight: Weight = ones(streams, 1)
    if how == "first":
        weight = Constant(tuple((int(s == 0),) for s in range(streams)))
    elif how == "learned":
        weight = Parameter("expand", ((1,),) * streams)
    return build.mixes([f"h0_{s}" for s in range(streams)], [build.stem], weight)


def collapsed(build: Builder, state: Sequence[str], how: Collapse) -> str:
    """The output: the streams' sum, their mean, or a learned combination that starts as the sum."""
    choice("collapse", how, Collapse)
    n = len(state)
    weight: Weight = ones(1, n)
    if how == "mean":
        weight = Constant(((Fraction(1, n),) * n,))
    elif how == "learned":
        weight = Parameter("collapse", ((1,) * n,))
    return build.mix("out", state, weight)


def block_input(build: Builder, number: int, value: str, pre_norm: bool) -> tuple[str, dict[str, float]]:
    """What block ``number`` reads of ``value``, and its hints: with ``pre_norm`` the wiring has the block's RMS norm.

    It is a mix of the value alone: streams that the same matrix carries on stay as they are.
    """
    if not pre_norm:
        return value, {}
    return build.mix(f"n{number}", [value], ones(1, 1), norm=Norm(f"norm{number}")), {"pre_norm": 0}


def ends(expand: Expand, collapse: Collapse) -> dict[str, Setting]:
    """The settings of both ends, where they are not the usual ones."""
    given = {"expand": (expand, "copy"), "collapse": (collapse, "sum")}
    return {name: value for name, (value, usual) in given.items() if value != usual}
