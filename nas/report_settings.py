"""What an experiment says of its report: how often it is rewritten, and what its hypervolume is measured from."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

from search_space.schema import Strict, wrong

MOST_SECONDS = 86_400


class Report(Strict):
    """``refresh`` is how many seconds pass between two versions of the page while a search runs.

    ``reference`` is the worst value of interest by objective, such as ``{accuracy: 0.1, flops: 5.0e6}``: the
    hypervolume counts what is better than that. What it does not name is derived, and the report says from what.
    """

    refresh: float = Field(default=30.0, ge=1, le=MOST_SECONDS)
    reference: Mapping[str, Annotated[float, Field(ge=0)]] | None = None

    def check(self, metrics: Iterable[str], costs: Iterable[str]) -> None:
        """A schema error where the reference names what is no objective, or a cost of zero, which has no logarithm."""
        known, costly = list(metrics), set(costs)
        for metric, value in (self.reference or {}).items():
            if metric not in known:
                raise wrong(f"is no objective here; there are: {', '.join(known)}", at=("report", "reference", metric))
            if metric in costly and value == 0:
                raise wrong("0 has no logarithm; write a cost above 0", at=("report", "reference", metric))
