"""Frac-connections: hyper-connections between m fractions of one hidden state, which is not expanded."""

from typing import Literal

from graphs.builder import Builder
from graphs.families.arguments import choice, whole
from graphs.topology import Setting, Topology
from graphs.weights import Constant, Generated, Grain, Parameter, Sum, Tanh, Times, Weight, beside
from graphs.weights.leaves import checked_positive

MAX_FRACTIONS = 16

Norm = Literal["layer", "rms"]


def frac(
    depth: int,
    *,
    fractions: int = 4,
    dynamic: bool = False,
    tanh: bool = True,
    scale: float = 0.01,
    norm: Norm = "rms",
) -> Topology:
    """Frac-connections: ``u_k = Y X, X_next = A X + B f_k(u_k)`` on ``fractions`` = m parts X of the d channels.

    A block reads ``Y X`` (m x m, started as the identity), its output is written with a gain ``B`` per fraction
    (started at one) and joins ``A X`` (m x m, the identity); an entry acts alike on the d / m channels of a
    fraction. That is the static form (SFC); ``dynamic`` weights (DFC) look at the token: ``s_a tanh(norm(X) W)`` is
    added to ``[Y; A]`` (what reads fraction j from fraction j alone, by maps that the fractions share) and
    ``s_b tanh(norm(X) W_b)`` to ``B``, from the state before the block, the norm over the channels of one fraction.
    The maps start at zero and decay, ``s_a`` and ``s_b`` start at ``scale``. ``tanh=False`` leaves the tanh out.

    The network starts as the residual network. Weights per block: ``m (2 m + 1)``, and ``(d / m) (2 m + 1) + 2``
    more if ``dynamic``. The published counts have d / m more, one gain of the norm without a bias, which suggests
    an RMS norm; ours has no gain, which the maps can hold. Nothing is expanded or collapsed.

    Source: Frac-Connections, arXiv 2503.14125, its method section (matrices there are source first).
    """
    m = whole("fractions", fractions, 1, MAX_FRACTIONS, "for each block mixes all pairs of them")
    choice("norm", norm, Norm)
    start = checked_positive("scale", scale)
    mixing = Grain(m, full=True)
    build = Builder(depth)
    state = build.stem

    def on_top(what: str, k: int, rows: int, grain: Grain) -> Weight:
        """What a token adds to ``rows`` rows of weights."""
        seen: Weight = Generated(f"dynamic_{what}{k}", (rows, 1), (0,), each=True, norm=norm, grain=grain)
        return Times(Parameter(f"{what}_scale{k}", ((start,),)), Tanh(seen) if tanh else seen)

    for k in range(1, depth + 1):
        width: Weight = Parameter(f"width{k}", ((1,), (1,)), grain=mixing)
        write: Weight = Parameter(f"depth{k}", ((1,),), grain=Grain(m))
        keys: tuple[str, ...] = ()
        if dynamic:
            keys = (state,)
            width = Sum((width, on_top("width", k, 2, mixing)))
            write = Sum((write, on_top("depth", k, 1, Grain(m))))
        block_input, carried = build.mixes([f"u{k}", f"g{k}"], [state], width, keys)
        written = build.block(k, block_input)
        state = build.mix(f"h{k}", [written, carried], beside(write, Constant(((1,),))), keys)
    settings: dict[str, Setting] = {"fractions": m}
    if dynamic:
        settings |= {"dynamic": True, "tanh": tanh, "scale": start, "norm": norm}
    return build.topology(state, "frac", **settings)
