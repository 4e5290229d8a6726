"""Plans and prices what is proposed: everything up to the decision whether to train it, each point once."""

from collections.abc import Container

from nas.experiment import Experiment
from nas.pricing import Judged, judge, judge_topology
from nas.proposal import Proposal
from search_space.space import Point

LOOKED_AT = 256  # points


class Planner:
    """Looks at points for samplers, which look first and then propose, and at proposals."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._last: dict[Point, Judged] = {}  # the last points that were looked at
        self._digests: dict[Point, str | None] = {}

    def judge(self, proposal: Proposal, known: Container[str] = ()) -> Judged:
        """What may be done with a proposal; of a point whose digest is ``known`` to the search only that digest."""
        if proposal.problem is not None:
            return Judged(reason=proposal.problem)
        if proposal.topology is not None:
            return judge_topology(self.experiment, proposal.topology)
        digest = self.identify(proposal.point)
        if digest is not None and digest in known:
            return Judged(known=digest)
        return self._look(proposal.point)

    def identify(self, point: Point) -> str | None:
        """The digest of a point that may be trained, None for another; worked out once."""
        found = self._digests.get(point, "")
        if found == "":
            judged = self._look(point)
            found = judged.digest if judged.reason is None else None
            self._digests[point] = found
        return found

    def _look(self, point: Point) -> Judged:
        if point not in self._last:
            while len(self._last) >= LOOKED_AT:
                self._last.pop(next(iter(self._last)))
            self._last[point] = judge(self.experiment, point)
        return self._last[point]
