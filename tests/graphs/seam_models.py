"""Topologies whose blocks are joined by weights per token, and their models by the reference and by seams."""

import torch
from fused_models import DIM, both

import graphs
from graphs import Block as Step
from graphs import Constant, Mix, Parameter, Topology, families
from graphs.topology import Norm
from graphs.weights import Generated, Grain, Sum, Tanh, Times


def hybrid(depth=4, n=2, *, norm=None, write="dynamic", read="dynamic", collapse=True, general=False):
    """Streams by hand: one of both mixes may be static, block inputs may be normalised (the streams go on apart)."""

    def rule(name, m, sources, kind, each):
        start = tuple(tuple((1 + i + 2 * j) / 8 for j in range(sources)) for i in range(m))
        if kind == "constant":
            return Constant(start)
        static = Parameter(f"{name}_bias", start)
        if kind == "static":
            return static
        keys = tuple(range(n))
        if general:
            hidden = Generated(f"{name}_deep", (m, sources), keys, norm="layer", gain=True, hidden=3, start="normal")
            return Sum((static, Tanh(hidden)))
        if each and sources == n:
            return Sum((static, Generated(f"{name}_each", (m, sources), keys, each=True, norm="rms", gain=True)))
        free = Generated(f"{name}_free", (m, sources), keys[::-1], norm="none")
        return Sum((static, Times(Parameter(f"{name}_scale", ((0.5,),)), free)))

    ops = [Mix(("x0",), tuple(f"h0_{s}" for s in range(n)), Parameter("first", ((1,),) * n))]
    state = tuple(f"h0_{s}" for s in range(n))
    for k in range(1, depth + 1):
        rms = None if norm is None else Norm(f"norm{k}", norm)
        read_keys = state if read == "dynamic" else ()
        if norm is None:
            names = (f"u{k}", *(f"g{k}_{s}" for s in range(n)))
            ops.append(Mix(state, names, rule(f"read{k}", n + 1, n, read, True), read_keys))
            carried = names[1:]
        else:
            ops.append(Mix(state, (f"u{k}",), rule(f"read{k}", 1, n, read, True), read_keys, rms))
            carried = state
        ops.append(Step(k, (f"u{k}",), f"y{k}"))
        after = tuple(f"h{k}_{s}" for s in range(n))
        keys = state if write == "dynamic" else ()
        ops.append(Mix((f"y{k}", *carried), after, rule(f"write{k}", n, n + 1, write, False), keys))
        state = after
    if not collapse:
        return Topology(tuple(ops), state[-1], depth)
    return Topology((*ops, Mix(state, ("out",), Parameter("last", ((1,) * n,)))), "out", depth)


def fractions(depth=3, n=2):
    """Weights per token of part of the channels: not a seam."""
    ops, value = [], "x0"
    for k in range(1, depth + 1):
        ops.append(Step(k, (value,), f"y{k}"))
        seen = Generated(f"w{k}", (1, 2), (0, 1), each=True, grain=Grain(n), start="normal")
        ops.append(Mix((value, f"y{k}"), (f"h{k}",), Sum((Constant(((1, 1),)), seen)), (value, f"y{k}")))
        value = f"h{k}"
    return Topology(tuple(ops), value, depth)


FAMILY_SEAMS = {
    **{f"hyper{n}": lambda n=n: families.hyper(4 if n < 5 else 2, streams=n, dynamic=True) for n in range(1, 9)},
    **{f"mhc{n}": lambda n=n: families.mhc(4 if n < 5 else 2, streams=n, iterations=5) for n in range(1, 9)},
    "hyper-rms": lambda: families.hyper(5, streams=3, dynamic=True, norm="rms"),
    "hyper-linear": lambda: families.hyper(5, streams=2, dynamic=True, tanh=False, norm="rms", scale=0.7),
    "hyper-linear-layer": lambda: families.hyper(3, streams=2, dynamic=True, tanh=False, expand="first"),
    "hyper-ends": lambda: families.hyper(4, streams=2, dynamic=True, expand="learned", collapse="learned"),
    "hyper-mean": lambda: families.hyper(4, streams=2, dynamic=True, expand="learned", collapse="mean"),
    "mhc-identity": lambda: families.mhc(5, streams=3, mixing="identity"),
    "mhc-permutations": lambda: families.mhc(5, streams=3, mixing="permutations"),
    "hyper-normed": lambda: families.hyper(4, streams=2, dynamic=True, pre_norm=True),
    "mhc-normed": lambda: families.mhc(4, streams=3, iterations=5, pre_norm=True),
    "mhc-identity-normed": lambda: families.mhc(3, streams=2, mixing="identity", pre_norm=True),
    "mhc-ends": lambda: families.mhc(4, streams=2, expand="first", collapse="learned", iterations=20),
}
HAND_SEAMS = {
    "static-write": lambda: hybrid(write="static"),
    "static-read": lambda: hybrid(read="static"),
    "constant-write": lambda: hybrid(n=3, write="constant"),
    "constant-read": lambda: hybrid(n=3, read="constant"),
    "normalised": lambda: hybrid(norm="rms"),
    "layer-normalised": lambda: hybrid(n=3, norm="layer"),
    "normalised-static-read": lambda: hybrid(norm="rms", read="static"),
    "no-collapse": lambda: hybrid(n=3, collapse=False),
    "general": lambda: hybrid(general=True),
    "general-normalised": lambda: hybrid(general=True, norm="layer", collapse=False),
}
SEAMS = FAMILY_SEAMS | HAND_SEAMS


def pair(topology, dtype=torch.float64, recompute=False, seed=0, **given):
    """The model by the reference and by seams, on the same blocks, with the same weights away from their start."""
    reference, fused = both(topology, dtype, seed)
    blocks = list(reference.blocks)
    reference = graphs.compile(topology, blocks, dim=DIM, **given).to(dtype)
    model = graphs.compile(topology, blocks, dim=DIM, impl="fused", recompute=recompute, **given).to(dtype)
    for one in (reference, model):
        one.weights.load_state_dict(fused.weights.state_dict())
    return reference.eval(), model.eval()
