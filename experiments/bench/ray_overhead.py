"""What our executor adds to Ray Tune: trivial trials through study and executor, and through plain Tune, in turns.

    python experiments/bench/ray_overhead.py [--trials 200] [--rounds 3] [--cpus 2]

Both place the same number of trials on the same cores, with as many reports each, in processes that are used again
(``reuse_actors``). Plain Tune proposes at random and keeps its own snapshots, its loggers are off; ours proposes at
random from a space, deduplicates, prices, and writes every report to the event log. The start of the processes, with
the import of torch, counts for both. Prints trials per second and the medians' ratio.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}

import ray
from ray import tune

from nas.executors.ray import RayExecutor
from nas.experiment import Experiment
from nas.jobs import Job, Outcome, Report
from nas.run_folder import RunFolder
from nas.study import Study
from search_space.document import dump

EXPERIMENT = {
    "name": "trivial",
    "seed": 0,
    "trials": 1,
    "data": {"kind": "digits"},
    "backbone": {"kind": "mixer", "dim": 8, "patch": 4},
    "space": {
        "depth": {"low": 4, "high": 16},
        "families": {"wiring": {"edges": {"low": 1, "high": 24}}},
    },
    "objectives": [{"metric": "accuracy", "goal": "maximize"}, {"metric": "flops", "goal": "minimize"}],
    "train": {"budget_gflops": 0.05, "batch": 32, "lr": 4.0e-3, "warmup": 0.1, "threads": 1},
    "search": {"sampler": "random", "baselines": False},
}
REPORTS = 10


def trivial(job: Job):
    """Says as much as a trial of a search, and trains nothing."""
    for step in job.report_at:
        yield Report(job.number, step, 1.0, 0.5, 0.7, step in job.ask_at)
    return Outcome(job.number, "complete", job.steps, 0.0, 0.5, 0.7)


def plain(config: dict[str, float]) -> None:
    import torch  # noqa: F401 - as our workers do before their first trial

    for step in range(REPORTS):
        tune.report({"step": step, "train_loss": 1.0, "accuracy": config["x"], "loss": 0.7})


def ours(trials: int, folder: Path, seed: int) -> float:
    folder.mkdir()
    (folder / "trivial.yaml").write_text(dump(EXPERIMENT | {"trials": trials, "seed": seed}))
    experiment = Experiment.load(folder / "trivial.yaml")
    held = RunFolder.create(folder / "run", experiment)
    with RayExecutor(trivial, folder=held.path) as executor:
        study = Study(experiment, held, executor)
        started = time.perf_counter()
        study.run()
        seconds = time.perf_counter() - started
    held.log.close()
    assert study.ledger.trained == trials
    return seconds


def theirs(trials: int, folder: Path) -> float:
    tuner = tune.Tuner(
        tune.with_resources(plain, {"cpu": 1}),
        param_space={"x": tune.uniform(0.0, 1.0)},
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
        run_config=tune.RunConfig(name="plain", storage_path=str(folder), verbose=0),
    )
    started = time.perf_counter()
    found = tuner.fit()
    assert len(found) == trials
    assert not found.errors
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpus", type=int, default=2)
    asked = parser.parse_args()
    ray.init(address="local", num_cpus=asked.cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    seconds: dict[str, list[float]] = {"plain Ray Tune": [], "study and executor": []}
    with tempfile.TemporaryDirectory() as temporary:
        for turn in range(asked.rounds):
            seconds["plain Ray Tune"].append(theirs(asked.trials, Path(temporary) / f"plain{turn}"))
            seconds["study and executor"].append(ours(asked.trials, Path(temporary) / f"ours{turn}", turn))
            print(f"round {turn + 1}: " + ", ".join(f"{name} {each[-1]:.1f} s" for name, each in seconds.items()))
    ray.shutdown()
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<20} {asked.trials / median:8.1f} trials/s   (median of {asked.rounds}: {median:.1f} s)")
    print(f"ratio                {medians['plain Ray Tune'] / medians['study and executor']:8.0%}")


if __name__ == "__main__":
    main()
