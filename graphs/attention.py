"""Recognises attention over depth in a mix: a softmax over its sources by one product with each of them."""

from typing import NamedTuple

from graphs.topology import Mix
from graphs.weights import SCALAR, Generated, Softmax


class Attention(NamedTuple):
    """The query (a generated rule of one map, with a gain of its norm or without) and the softmax's temperature."""

    query: Generated
    temperature: float


def attention(mix: Mix) -> Attention | None:
    """What weighs the sources of ``mix``, if that is ``softmax_j(query . (gain * rms_norm(x_j)) / temperature)``.

    One output, and each source's logit from the source itself. Anything beside it (a bias, a layer norm, other keys)
    is a weight per token like any other.
    """
    weight = mix.weight
    if not isinstance(weight, Softmax) or weight.over != "sources" or not isinstance(weight.of, Generated):
        return None
    rule = weight.of
    plain = rule.each and not rule.hidden and rule.norm == "rms" and rule.grain == SCALAR
    if not plain or rule.outputs != (1, len(mix.reads)) or tuple(mix.keys[i] for i in rule.keys) != mix.reads:
        return None
    return Attention(rule, float(weight.temperature))
