"""Drop what cannot reach the output: blocks, values, and edges fixed at zero."""

from dataclasses import replace

from graphs.order import schedule
from graphs.topology import Mix, Op, Topology
from graphs.weights import Constant, pick, support


def prune(topology: Topology) -> Topology:
    """The same function without dead operations, dead outputs of mixes, and edges that are zero for ever.

    Parameters keep their shape, so that stored weights still fit; their dead entries are no longer read.
    """
    if "_pruned" not in vars(topology):
        found = _pruned(topology)
        vars(found)["_pruned"] = None  # nothing more to drop; no reference to itself, which only a collector would free
        if found is not topology:
            vars(topology)["_pruned"] = found
    return vars(topology)["_pruned"] or topology


def _pruned(topology: Topology) -> Topology:
    live = {topology.output}
    kept: list[Op] = []
    order = schedule(topology)
    for op in reversed(order):
        if not live.intersection(op.outputs):
            continue
        if isinstance(op, Mix):
            op = _trimmed(op, live, topology.stem)
        live.update(op.uses)
        kept.append(op)
    kept.reverse()
    same = len(kept) == len(order) and all(new is old for new, old in zip(kept, order, strict=True))
    return topology if same else topology.rewritten(tuple(kept))


def _trimmed(mix: Mix, live: set[str], stem: str) -> Mix:
    rows = [i for i, value in enumerate(mix.writes) if value in live]
    if len(rows) == len(mix.writes):
        columns = [j for j, (edges, _) in enumerate(mix.columns) if edges]
    else:
        on = support(mix.weight)
        columns = [j for j in range(len(mix.reads)) if any(on[i][j] for i in rows)]
    if not columns:  # zero throughout: it takes its shape from the stem, so that no block runs for nothing
        return replace(
            mix, reads=(stem,), writes=tuple(mix.writes[i] for i in rows), weight=Constant(((0,),) * len(rows)), keys=()
        )
    if len(rows) == len(mix.writes) and len(columns) == len(mix.reads):
        return mix
    return replace(
        mix,
        reads=tuple(mix.reads[j] for j in columns),
        writes=tuple(mix.writes[i] for i in rows),
        weight=pick(mix.weight, rows, columns),
        keys=mix.keys if mix.weight.per_token else (),
    )
