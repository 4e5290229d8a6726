"""Plans and prices what is proposed: everything up to the decision whether to train it, each point once."""

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

    def judge(self, proposal: Proposal) -> Judged:
        """What may be done with a proposal."""
        if proposal.problem is not None:
            return Judged(reason=proposal.problem)
        if proposal.topology is not None:
            return judge_topology(self.experiment, proposal.topology)
        point = proposal.point
        if point not in self._last:
            while len(self._last) >= LOOKED_AT:
                self._last.pop(next(iter(self._last)))
            self._last[point] = judge(self.experiment, point)
        return self._last[point]

    def identify(self, point: Point) -> str | None:
        """The digest of a point that may be trained, None for another; worked out once."""
        if point not in self._digests:
            found = self.judge(Proposal(point, ""))
            allowed = found.topology is not None and found.reason is None
            self._digests[point] = found.topology.digest if allowed and found.topology is not None else None
        return self._digests[point]
