"""The memory that training takes, counted before anything is trained. An estimate, made to err upwards. No torch."""

from graphs import Cost, ModelCost

VALUE = 4  # bytes of a number in fp32
PER_PARAMETER = 4  # the weight, its gradient and AdamW's two moments
# Hidden states that the backward pass of a block keeps: its norm's input and output, the inputs of its maps, and of
# the activation between them, which is four times as wide in a transformer.
KEPT_PER_BLOCK = 14


def peak_bytes(cost: Cost, model: ModelCost, batch: int) -> float:
    """Bytes that training takes at its peak with ``batch`` samples a step: state, kept values, one value's gradient.

    Scores of attention count where a kernel keeps them, which fused ones do not: they are left out.
    """
    state = cost.parameters * PER_PARAMETER * VALUE
    hidden = batch * model.tokens * model.dim * VALUE
    return state + hidden * (cost.kept + cost.peak_live + KEPT_PER_BLOCK * len(model.blocks))
