"""Tune's side: what its experiment consists of. Tune itself keeps nothing: no loggers, no snapshots, no retries."""

import platform
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune

from graphs.memory import keep_memory
from nas.errors import RunFolderError
from nas.executors import cluster
from nas.executors.desk import Desk
from nas.executors.far import landed
from nas.executors.parcel import Parcel, Unpacked
from nas.executors.ray.joining import nodes_of
from nas.executors.ray.ranks import Ranks
from nas.executors.running import Running
from nas.executors.worker import Batch, Evaluate, Store, Worker, fetch, shares
from nas.jobs import Job, Outcome
from nas.resources import Share

LOOK = 2.0  # seconds between looks at the nodes while trials wait
STEP = 1.0  # seconds that a step of Tune takes at most, unless it is held up


def fit(
    desk: Desk,
    evaluate: Evaluate,
    share: Share,
    probe: Path | None,
    token: str,
    store: Store | None,
    parcel: Parcel | None,
    landing: Path | None,
) -> None:
    """Run Tune until the desk is closed. Weights that are fetched go where the job wants them, or into ``landing``."""
    storage = Path(tempfile.mkdtemp(prefix="wireloom-tune-"))
    forward = _Forward(desk, landing)
    each = share.each
    bundles = [{"CPU": each.cpu, **({"GPU": each.gpu} if each.gpu else {})}] * share.workers
    trainable = tune.with_resources(
        _trainable(evaluate, share, probe, token, store, ray.put(parcel)), tune.PlacementGroupFactory(bundles)
    )
    try:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=_Searcher(desk, forward),
                scheduler=forward,
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(storage),
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                stop=_Closed(desk),
                callbacks=[_Watch(desk, forward, share)],
                verbose=0,
            ),
        ).fit()
        desk.fail(RuntimeError("Ray Tune has ended"))  # which it does when the desk is closed, and nobody reads this
    except BaseException as error:
        desk.fail(error)
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _name(trial: Any) -> str:
    return str(trial.trial_id)


def _trainable(
    evaluate: Evaluate, share: Share, probe: Path | None, token: str, store: Store | None, sent: Any
) -> type[tune.Trainable]:
    here = cluster.versions()

    class Trial(tune.Trainable):
        """A worker's process. Jobs and answers come by calls of their own: Tune keeps every trial's config for ever."""

        def setup(self, config: dict[str, Any]) -> None:
            # Its node may have joined since versions were compared.
            cluster.check_versions({platform.node(): cluster.versions()}, here)
            share.each.enforce()
            keep_memory()
            self._files = Unpacked(ray.get(sent))
            whole = evaluate
            if share.workers > 1:
                ranks = Ranks(share, lambda error: self._worker.fail(error), self._files, sent)
                whole = partial(evaluate, gather=ranks.gather)
            self._worker = Worker(
                whole,
                shared=shares(probe, token),
                store=store,
                device="cuda" if share.gpu else "cpu",
                prepare=share.each.enforce,  # the number of threads is a setting of each thread
            )

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

        def take(self, job: Job) -> None:
            self._worker.take(self._files.here(job))

        def answer(self, go_on: bool) -> None:
            self._worker.answer(go_on)

        def read(self, offset: int, size: int) -> bytes:
            return self._worker.read(offset, size)

        def step(self) -> dict[str, Any]:
            batch = self._worker.step()
            return {"batch": batch, "done": batch.done}

        def cleanup(self) -> None:
            self._worker.close()
            self._files.close()

    return Trial


class _Searcher(tune.search.Searcher):
    """Hands out what the study submits."""

    def __init__(self, desk: Desk, forward: "_Forward") -> None:
        super().__init__()
        self._desk = desk
        self._forward = forward

    def suggest(self, trial_id: str) -> Any:
        # With nothing under way Tune would poll once a second; here it may as well wait.
        job = self._desk.take(block=not self._forward.jobs)
        if job is None:
            return self.FINISHED if self._desk.closed else None
        self._forward.jobs[trial_id] = Running(job)
        return {"number": job.number}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Closed(tune.Stopper):
    """Ends the experiment once the study wants no more."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._desk.closed


class _Forward(tune.schedulers.FIFOScheduler):
    """Forwards what trials say to the study, and the study's answers to trials."""

    def __init__(self, desk: Desk, landing: Path | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._desk = desk
        self._landing = landing
        self.jobs: dict[str, Running] = {}
        self._noted = False

    def _note(self, batch: Batch) -> None:
        """Say what a worker has to say beside its messages, once: it is the same of all the others."""
        if batch.note is not None and not self._noted:
            self._desk.say(batch.note)
            self._noted = True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        batch: Batch = result["batch"]
        running = self.jobs[trial.trial_id]
        running.heard(batch.messages)
        self._note(batch)
        self._desk.put(batch.messages)
        # A stopped trial still has its say: how it ended, for how long it trained, where its checkpoint is. So the
        # answer goes to the trial, which ends, and not to Tune, which would end it unheard.
        if batch.asks and not self._desk.ask(running.job.number):
            _actor(trial).answer.remote(False)
        return self.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        running = self.jobs.pop(trial.trial_id)
        batch: Batch | None = result.get("batch")
        trial.last_result.clear()  # of the thousands of trials that Tune keeps, nothing is left to keep
        if batch is None or not batch.done:  # the study has left
            return
        self._note(batch)
        if batch.error is not None:
            self._desk.put(batch.messages)
            self._desk.fail(RunFolderError(batch.error))
            return
        place = running.job.weights
        if place is not None and self._landing is not None:
            place = landed(self._landing, running.job.number)
        if batch.weights is not None and place is not None:
            try:
                read = _actor(trial).read.remote
                fetch(lambda *piece: ray.get(read(*piece)), place, batch.weights)
            except ray.exceptions.RayError as error:
                self._desk.put([running.lost(cluster.last_line(str(error)))])
                return
            except OSError as error:
                self._desk.fail(RunFolderError(cluster.unwritten(place, error)))
                return
        self._desk.put(batch.messages)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self.jobs.pop(trial.trial_id, None)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        running = self.jobs.pop(trial.trial_id)
        if self._desk.closed:
            return
        end = running.end(Path(trial.error_file).read_text(encoding="utf-8", errors="replace"))
        if isinstance(end, Outcome):
            self._desk.put([end])
        else:
            self._desk.fail(end)


class _Watch(tune.Callback):
    """Gives a trial its job when it starts, and ends those whose time is over."""

    def __init__(self, desk: Desk, forward: _Forward, share: Share) -> None:
        self._desk = desk
        self._forward = forward
        self._share = share
        self._looked = self._heard = time.monotonic()
        self._said = False

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        running = self._forward.jobs[trial.trial_id]
        running.since = time.monotonic()
        _actor(trial).take.remote(running.job)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if not result["done"]:
            del result["batch"]

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._desk.closed:  # nobody is interested in what they would say on leaving
            for trial in trials:
                if trial.trial_id in self._forward.jobs and _actor(trial) is not None:
                    ray.kill(_actor(trial))
        self._watch_nodes()
        self._give_back()
        late = {key for key, running in self._forward.jobs.items() if running.late}
        for trial in trials if late else ():
            if trial.trial_id in late:
                self._forward.jobs[trial.trial_id].overdue = True
                # Killed from outside: it may hang in C, where nothing inside can end it.
                ray.kill(_actor(trial))

    def _give_back(self) -> None:
        """Time in which Tune was held up, by a study that thinks or weights that come, is not that of trials."""
        now = time.monotonic()
        deaf, self._heard = now - self._heard - STEP, now
        for running in self._forward.jobs.values() if deaf > 0 else ():
            if running.since is not None:
                running.since = min(running.since + deaf, now)

    def _watch_nodes(self) -> None:
        """Say it where trials wait and no machine is left that could hold one."""
        jobs = self._forward.jobs.values()
        if not jobs or any(running.since is not None for running in jobs):
            self._looked = time.monotonic()
        elif time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            there = cluster.slots(self._share, nodes_of()) > 0
            if not there and not self._said:
                self._desk.say(
                    f"waiting: {len(jobs)} trials, and no node of the cluster that holds one with resources "
                    f"{self._share}; it goes on when such a node joins (Ctrl-C stops, --resume continues)"
                )
            self._said = not there


def _actor(trial: Any) -> Any:
    return trial.temporary_state.ray_actor
