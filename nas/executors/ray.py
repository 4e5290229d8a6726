"""The executor of many cores and machines: Ray Tune places the trials, the study owns them.

``Tuner.fit`` runs in a thread of its own. Its searcher hands out what the study submits, its scheduler forwards what
trials say, and Tune itself keeps nothing: no loggers, no snapshots, no retries. The one file that imports ray.
"""

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import uuid4

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nas.errors import RunFolderError
from nas.evaluate import evaluate as train
from nas.executors import cluster
from nas.executors.cluster import ClusterError, Node
from nas.executors.desk import Desk
from nas.executors.running import Running
from nas.executors.worker import Batch, Evaluate, Worker, fetch, shares
from nas.files import replace_file
from nas.jobs import Job, Outcome, Report
from nas.resources import Share

T = TypeVar("T")

LOOK = 2.0  # seconds between looks at the nodes
ENDED = 20.0  # seconds that Tune is given to end; what it has not let go by then goes with the connection


class RayExecutor:
    """Runs as many trials at once as ``share`` of each fits into the cluster.

    ``address`` is that of a running cluster, None starts one of ``cpus`` cores on this machine for as long as this
    executor is open. A process that is connected to a cluster already stays with that one. ``folder`` is where jobs'
    files go; workers that see it write there, from others they are fetched. ``most`` bounds the slots. ``say`` is
    told, from another thread, what a user should know while waiting.
    ``share`` may be a function of the memory of a GPU in bytes, None where the cluster has none. Raises ClusterError
    where the cluster cannot be used.
    """

    def __init__(
        self,
        evaluate: Evaluate = train,
        *,
        address: str | None = None,
        share: Share | Callable[[float | None], Share] | None = None,
        folder: Path | None = None,
        cpus: int | None = None,
        most: int | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._evaluate = evaluate
        self._most = most
        self._say = say
        self._probe = None if folder is None else folder / ".executor"
        self._token = uuid4().hex
        self._desk: Desk | None = None
        self._fit: threading.Thread | None = None
        self._looked = (-LOOK, 0)
        os.environ.update({name: value for name, value in cluster.SETTINGS.items() if name not in os.environ})
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what trials say comes another way
        self._joined = ray.is_initialized()
        if not self._joined:
            _connect(address, cpus)
        try:
            nodes = _nodes()
            self._share = share(_gpu_memory(nodes)) if callable(share) else share or Share()
            cluster.check_share(self._share, nodes)
            if address is not None:
                cluster.check_versions(_facts_of(nodes))
        except BaseException:
            self._disconnect()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.close()
        finally:
            self._disconnect()

    @property
    def slots(self) -> int:
        """How many trials the nodes of the moment hold, at least 1: what is submitted waits for a node."""
        looked, found = self._looked
        if time.monotonic() - looked > LOOK:
            found = cluster.slots(self._share, _nodes())
            self._looked = (time.monotonic(), found)
        return max(1, found if self._most is None else min(found, self._most))

    def submit(self, job: Job) -> None:
        if self._desk is None:
            self._start()
        assert self._desk is not None
        self._desk.submit(job)

    def next(self) -> Report | Outcome:
        assert self._desk is not None, "next() without a job"
        return self._desk.next()

    def answer(self, number: int, go_on: bool) -> None:
        assert self._desk is not None, "answer() without a job"
        self._desk.answer(number, go_on)

    def close(self) -> None:
        """Stop what runs, within seconds; the connection stays, so that more can be submitted."""
        desk, fit = self._desk, self._fit
        self._desk = self._fit = None
        if desk is not None and fit is not None:
            desk.close()
            fit.join(ENDED)

    def _start(self) -> None:
        if self._probe is not None:
            replace_file(self._probe, self._token.encode())
        self._desk = Desk(self._say)
        given = (self._desk, self._evaluate, self._share, self._probe, self._token)
        self._fit = threading.Thread(target=_fit, args=given, name="ray-tune", daemon=True)
        self._fit.start()

    def _disconnect(self) -> None:
        if self._probe is not None:
            self._probe.unlink(missing_ok=True)
        if not self._joined:
            ray.shutdown()


# ---- the cluster


def _connect(address: str | None, cpus: int | None) -> None:
    """Join a cluster or start one; ClusterError where that cannot be done."""
    if address is not None:
        cluster.check_address(address)
    options: dict[str, Any] = {"address": address or "local", "log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"num_cpus": cpus, "include_dashboard": False}
    else:
        options["runtime_env"] = {"py_modules": cluster.packages()}
    try:
        ray.init(namespace=f"wireloom-{uuid4().hex[:8]}", **options)
    except (OSError, RuntimeError, ValueError, TimeoutError) as error:
        raise ClusterError(cluster.refusal(address, error)) from error


def _nodes() -> list[Node]:
    return [
        Node(
            node["NodeID"], node["NodeManagerAddress"], node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def _facts_of(nodes: list[Node]) -> dict[str, dict[str, str]]:
    """The versions on each node, by its address."""
    return _on_each(nodes, cluster.versions, num_cpus=0)


def _on_each(nodes: list[Node], function: Callable[[], T], **takes: float) -> dict[str, T]:
    """What ``function`` gives on each node, by the node's address; ClusterError where one does not answer."""
    task: Any = ray.remote(max_retries=0, **takes)(function)  # type: ignore[call-overload]
    asked = {
        node.address: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote()
        for node in nodes
    }
    try:
        found = ray.get(list(asked.values()), timeout=cluster.PATIENCE)
    except ray.exceptions.RayError as error:
        raise ClusterError(cluster.refusal(None, error)) from error
    return dict(zip(asked, found, strict=True))


def _gpu_memory(nodes: list[Node]) -> float | None:
    """The memory of a GPU in bytes, the least of those of all nodes; None where no node has one."""

    def of_this_node() -> float:
        import torch

        return float(torch.cuda.get_device_properties(0).total_memory)

    having = [node for node in nodes if node.gpu]
    if not having:
        return None
    return min(_on_each(having, of_this_node, num_gpus=0.001).values())


# ---- Tune's side


def _fit(desk: Desk, evaluate: Evaluate, share: Share, probe: Path | None, token: str) -> None:
    """Run Tune until the desk is closed."""
    storage = Path(tempfile.mkdtemp(prefix="wireloom-tune-"))
    forward = _Forward(desk)
    bundles = [{"CPU": share.cpu, **({"GPU": share.gpu} if share.gpu else {})}]
    trainable = tune.with_resources(_trainable(evaluate, share, probe, token), tune.PlacementGroupFactory(bundles))
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


def _trainable(evaluate: Evaluate, share: Share, probe: Path | None, token: str) -> type[tune.Trainable]:
    class Trial(tune.Trainable):
        """A worker's process. Jobs and answers come by calls of their own: Tune keeps every trial's config for ever."""

        def setup(self, config: dict[str, Any]) -> None:
            share.enforce()
            device = "cuda" if share.gpu else "cpu"
            # The number of threads is a setting of each thread.
            self._worker = Worker(evaluate, shared=shares(probe, token), device=device, prepare=share.enforce)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

        def take(self, job: Job) -> None:
            self._worker.take(job)

        def answer(self, go_on: bool) -> None:
            self._worker.answer(go_on)

        def read(self, offset: int, size: int) -> bytes:
            return self._worker.read(offset, size)

        def step(self) -> dict[str, Any]:
            batch = self._worker.step()
            return {"batch": batch, "done": batch.done}

        def cleanup(self) -> None:
            self._worker.close()

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

    def __init__(self, desk: Desk) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._desk = desk
        self.jobs: dict[str, Running] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        batch: Batch = result["batch"]
        running = self.jobs[trial.trial_id]
        running.heard(batch.messages)
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
        if batch.error is not None:
            self._desk.put(batch.messages)
            self._desk.fail(RunFolderError(batch.error))
            return
        if batch.weights is not None and running.job.weights is not None:
            try:
                read = _actor(trial).read.remote
                fetch(lambda *piece: ray.get(read(*piece)), running.job.weights, batch.weights)
            except ray.exceptions.RayError as error:
                self._desk.put([running.lost(cluster.last_line(str(error)))])
                return
            except OSError as error:
                self._desk.fail(RunFolderError(cluster.unwritten(running.job.weights, error)))
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
        late = {key for key, running in self._forward.jobs.items() if running.late}
        for trial in trials if late else ():
            if trial.trial_id in late:
                self._forward.jobs[trial.trial_id].overdue = True
                # Killed from outside: it may hang in C, where nothing inside can end it.
                ray.kill(_actor(trial))


def _actor(trial: Any) -> Any:
    return trial.temporary_state.ray_actor
