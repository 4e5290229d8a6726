"""MUDDFormer: dense connections with weights per token, one set each for the ways q, k, v and the residual."""

from graphs.builder import Builder, sites
from graphs.topology import Topology
from graphs.weights import Generated, Parameter, Sum, Weight

WAYS = ("q", "k", "v", "r")


def mudd(depth: int, *, period: int = 1, multiway: bool = True, dynamic: bool = True) -> Topology:
    """Multiway dynamic dense connections: after site i, ``U^c = sum_{j<=i} A^c_ij X_j`` for the ways c.

    A site is ``period`` blocks; its first reads ``U^q, U^k, U^v`` at ports of these names, its outputs are added to
    ``U^r`` one after the other, which the rest of its blocks read, and the sum is ``X_i``. ``X_0`` is the stem, on
    all ways of site 1; the output is ``U^r`` of the last site, its only way. ``multiway=False`` has one way for
    everything, and blocks with one port. The weights of a site i are computed from its own ``X_i``:
    ``A_i = GELU(RMSNorm(X_i) W_1) W_2 + a_i``, the norm without a gain; ``dynamic=False`` keeps ``a_i`` alone.

    ``a_i`` starts one-hot at ``j = i`` and ``W_2`` at zero, so the network starts as the residual network; ``W_1``
    starts normal with variance 1 / d. With C ways (4; 1 at the last site) there are C (i + 1) weights ``a_i``, K hidden
    units, K = C (i + 1), but four times that at the last site, and d K + K C (i + 1) weights in the maps.

    Published with a site a whole transformer block: ``period=2`` where attention and feed-forward are blocks of
    their own. The paper's separate norms for q, k and v, its pre- and post-norms around the sum and its wider late
    feed-forward layers are inside blocks or left out. It does not say what decays; the maps do here, ``a`` does not.

    Source: MUDDFormer, arXiv 2502.12170; last site and initial values from its released code.
    """
    build = Builder(depth)
    reads = dict.fromkeys(WAYS, build.stem)
    history = [build.stem]
    every = sites(depth, period)
    for i, site in enumerate(every, start=1):
        value = reads["r"]
        for number in site:
            if multiway and number == site[0]:
                output = build.ported(number, {way: reads[way] for way in WAYS[:3]})
            else:
                output = build.block(number, value)
            value = build.add(f"x{number}", value, output)
        history.append(value)
        last = i == len(every)
        ways = ("r",) if last or not multiway else WAYS
        weight = _weight(i, len(ways), len(history), dynamic, expand=4 if last else 1)
        mixed = build.mixes([f"{way}{i}" for way in ways], history, weight, [value] if dynamic else ())
        reads = dict(zip(ways, mixed, strict=True))
    return build.topology(reads["r"], "mudd", period=period, multiway=multiway, dynamic=dynamic)


def _weight(site: int, ways: int, sources: int, dynamic: bool, expand: int) -> Weight:
    static = Parameter(f"static{site}", ((*(0,) * (sources - 1), 1),) * ways)
    if not dynamic:
        return static
    hidden = expand * ways * sources
    return Sum((static, Generated(f"dynamic{site}", (ways, sources), (0,), norm="rms", hidden=hidden)))
