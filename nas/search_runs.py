"""A search as nested runs: search = parent run, topology = child, seed = grandchild. Every write may be repeated.

Runs are found again by a key of our own, and what was written is written only once. So after any crash, and after
any failure in the middle of a write, everything is simply written again: what is there already stays as it is.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from nas import tracked
from nas.records import Trial
from nas.stores import LOGGED, NUMBER, Run, Store, clean, now
from nas.tracked import Measured
from nas.trainings import Training

Picture = Callable[[Trial], bytes | None]


class SearchRuns:
    """One search in a store that ``opened`` opens; ``key`` names the search for ever."""

    def __init__(self, key: str, name: str, opened: Callable[[], Store]) -> None:
        assert "'" not in key, "the key goes into a query as it is"
        self.key, self.name = key, name
        self._opened = opened
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """The store, opened when it is first needed and after every :meth:`forget`."""
        return self.open()

    def open(self) -> Store:
        """Open the store if it is not."""
        if self._store is None:
            self._store = self._opened()
        return self._store

    def forget(self) -> None:
        """After a failure: what we believe to be stored may not be, and what we do not may."""
        self._store = None

    @property
    def search(self) -> Run:
        return self.store.run(self.key, self.name)

    def start(
        self, params: Mapping[str, str | float], artifacts: Mapping[str, bytes | str], tags: Mapping[str, str]
    ) -> None:
        """The search's own run, made or taken up again; artifacts are contents by file name.

        ``tags`` are what may change when a search is continued, which a param cannot; then the artifacts are written
        again.
        """
        run = self.search
        if run.status != "RUNNING":
            self.store.mark(run, "RUNNING")
        wanted = {**tags, LOGGED: "1"}
        if not wanted.items() <= run.tags.items():
            self.store.attach(run, lambda: artifacts)
            self.store.write(run, params=params, tags=wanted)

    def live(self, trial: Trial, picture: Picture | None) -> None:
        """Write what is known of a running trial; its results and its status are not looked at."""
        topology = self._topology(trial, picture)
        curve = tracked.curve(trial)
        run = self._mended(trial, topology, curve, whole=False)
        if run.logged:
            return
        for each in (topology, run):
            if each.status not in ("RUNNING", "FINISHED"):
                self.store.mark(each, "RUNNING")
        self.store.write(run, _fresh(run, curve), params=tracked.params(trial), tags=tracked.live_tags(trial))

    def trial(self, trial: Trial, picture: Picture | None) -> None:
        """Write a finished trial below its topology, whose PNG ``picture`` draws; one already there stays as it is."""
        if self._knows(trial):
            return
        topology = self._topology(trial, picture)
        metrics = tracked.seed_metrics(trial)
        run = self._mended(trial, topology, metrics, whole=True)
        if is_of(run, trial):
            return
        self.store.write(topology, tracked.topology_metrics(trial))
        ended = tracked.status(trial)
        if topology.status != "FINISHED":  # one seed that ended well is enough for the topology
            self.store.mark(topology, ended)
        self.store.mark(run, ended)
        # Last of all, and in one call, because its tags say that everything is there.
        tags = {**tracked.tags(trial), LOGGED: "1"}
        self.store.write(run, _fresh(run, metrics), params=tracked.params(trial), tags=tags)

    def training(self, one: Training, picture: Picture | None) -> None:
        """Write a training of a confirmation below its topology; one already there stays as it is."""
        key = f"{self.key}/{one.key}"
        known = self.store.known.get(key)
        if known is not None and known.logged:
            return
        topology = self._topology(one.of, picture)
        run = self.store.run(key, one.name, parent=topology, seconds=one.event.get("seconds"))
        self.store.write(topology, one.topology_metrics())
        if topology.status != "FINISHED":
            self.store.mark(topology, one.status)
        self.store.mark(run, one.status)
        self.store.write(run, one.metrics(), params=one.params(), tags={**one.tags(), LOGGED: "1"})

    def register(self, trial: Trial, name: str, files: Mapping[str, Path], tags: Mapping[str, str]) -> None:
        """Keep files, by name, as ``model/`` of a trial's run and enter them in the store's model registry."""
        self.trial(trial, None)  # where it is not there yet
        run = self._seed(trial, self._topology(trial, None))
        self.store.attach(run, lambda: {f"model/{file}": path.read_bytes() for file, path in files.items()})
        every = {"digest": trial.digest, NUMBER: str(trial.number), "wireloom.key": self.key, **tags}
        self.store.register(run, name, every, f"{trial.family}, digest {trial.digest}, found by {self.name}")

    def finish(self, status: str, metrics: Mapping[str, float], artifacts: Mapping[str, Path]) -> None:
        """End the search's run with ``status``; artifacts are files by name, and absent ones are skipped."""
        run = self.search
        self.store.write(run, [(name, value, 0) for name, value in metrics.items()], at=now())
        self.store.attach(run, lambda: {name: path.read_bytes() for name, path in artifacts.items() if path.is_file()})
        self.store.refresh()  # a call that timed out may have been carried out all the same, and later
        self.close(status)

    def close(self, status: str) -> None:
        """End every run that is RUNNING: the search's own with ``status``, others, which nobody trains, KILLED."""
        for run in [*self.store.known.values()]:
            if run.status == "RUNNING":
                self.store.mark(run, status if run.key == self.key else "KILLED")

    def _knows(self, trial: Trial) -> bool:
        key = f"{self.key}/{trial.digest or '-'}/s{trial.seed}"
        runs = (self.store.known.get(name) for name in (key, f"{key}/t{trial.number}"))
        return any(run is not None and run.tags.get(NUMBER) == str(trial.number) and is_of(run, trial) for run in runs)

    def _topology(self, trial: Trial, picture: Picture | None) -> Run:
        name = f"{trial.family} {trial.digest[:8]}" if trial.digest else "no topology"
        key = f"{self.key}/{trial.digest or '-'}"
        run = self.store.run(key, name, parent=self.search, seconds=trial.seconds)
        if not run.logged:
            about = {"family": trial.family, "digest": trial.digest, LOGGED: "1"}
            self.store.attach(run, lambda: tracked.files(trial, None if picture is None else picture(trial)))
            self.store.write(run, params=tracked.params(trial), tags=about)
        return run

    def _seed(self, trial: Trial, topology: Run) -> Run:
        """The run of a trial; a second trial of one topology and seed, such as a refused repeat, gets its own."""
        key = f"{topology.key}/s{trial.seed}"
        other = self.store.known.get(key)
        if other is not None and other.tags.get(NUMBER) != str(trial.number):
            key = f"{key}/t{trial.number}"
        number = {NUMBER: str(trial.number)}
        return self.store.run(key, f"seed {trial.seed}", parent=topology, seconds=trial.seconds, tags=number)

    def _mended(self, trial: Trial, topology: Run, metrics: list[Measured], *, whole: bool) -> Run:
        """The run of a trial; made anew where it has values of an interrupted attempt, or of one that waited."""
        run = self._seed(trial, topology)
        if whole and run.logged and not is_of(run, trial):
            self.store.delete(run)
            run = self._seed(trial, topology)
        if run.logged:
            return run
        known = {(clean(name), step): value for name, value, step in metrics}
        stored = self.store.points(run)
        # Of a trial that still runs, the steps it has not come to again do not count.
        if any(known.get(at) != value for at, value in stored.items() if whole or at in known):
            self.store.delete(run)
            run = self._seed(trial, topology)
        return run


def is_of(run: Run, trial: Trial) -> bool:
    """Whether a run was written in full and of this end of its trial: one that waited at a rung may go on later."""
    ours = tracked.tags(trial)
    return run.logged and all(run.tags.get(name) == ours.get(name) for name in ("status", "reason"))


def _fresh(run: Run, metrics: list[Measured]) -> list[Measured]:
    """Those of some values that the run does not have."""
    return [one for one in metrics if (clean(one[0]), one[2]) not in run.points]
