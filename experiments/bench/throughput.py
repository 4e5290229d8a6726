"""What the serial executor costs: trivial trials through a whole study, and through plain Optuna on its journal file.

    python experiments/bench/throughput.py [--trials 200] [--rounds 3] [--sampler tpe random]

In turns, in one process, over two spaces in which hardly a point repeats. Plain Optuna asks for the same points and is
told two values; its journal lies on the same disk. Ours proposes with the same sampler, and beside that builds
each topology, plans and prices it, looks for repeats, and writes ask, report and result to the event log. Nothing is
trained in either.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import optuna

from nas.executors.serial import SerialExecutor
from nas.experiment import Experiment
from nas.jobs import Job, Outcome, Report
from nas.run_folder import RunFolder
from nas.sampling import Suggestions
from nas.study import Study
from search_space.document import dump

EXPERIMENT = {
    "name": "trivial",
    "seed": 0,
    "trials": 1,
    "data": {"kind": "digits"},
    "backbone": {"kind": "mixer", "dim": 48, "patch": 2},
    "objectives": [{"metric": "accuracy", "goal": "maximize"}, {"metric": "flops", "goal": "minimize"}],
    "train": {"budget_gflops": 300, "batch": 64, "lr": 2.0e-3, "warmup": 0.1},
}

FAMILIES = {  # what a point is: 2 numbers and a topology that is dear to plan, or some 20 and a cheap one
    "ancre": {"temperature": {"low": 0.01, "high": 10.0, "log": True}},
    "wiring": {"edges": {"low": 4, "high": 14}},
}


def trivial(job: Job):
    """One report and the end."""
    accuracy = (job.number * 0.618) % 1
    yield Report(job.number, job.steps, 1.0, accuracy, 1.0 - accuracy, False)
    return Outcome(job.number, "complete", job.steps, 0.0, accuracy, 1.0 - accuracy)


def load(folder: Path, trials: int, sampler: str, family: str) -> Experiment:
    folder.mkdir()
    search = {"sampler": sampler, "baselines": False, "random_share": 0.0}
    space = {"depth": {"low": 9, "high": 12}, "families": {family: FAMILIES[family]}}
    (folder / "trivial.yaml").write_text(dump(EXPERIMENT | {"trials": trials, "search": search, "space": space}))
    return Experiment.load(folder / "trivial.yaml")


def ours(experiment: Experiment, folder: Path) -> float:
    held = RunFolder.create(folder / "run", experiment)
    study = Study(experiment, held, SerialExecutor(trivial))
    started = time.perf_counter()
    study.run()
    seconds = time.perf_counter() - started
    held.log.close()
    assert study.ledger.finished == experiment.trials
    assert len(study.ledger.asks) < 1.1 * experiment.trials, "repeats are not what is timed"
    return seconds


def plain(experiment: Experiment, folder: Path, sampler: str) -> float:
    journal = optuna.storages.journal
    storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(folder / "journal.log")))
    samplers = optuna.samplers
    chosen = samplers.TPESampler(seed=0) if sampler == "tpe" else samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=storage, sampler=chosen, directions=["maximize", "minimize"])
    started = time.perf_counter()
    for number in range(experiment.trials):
        trial = study.ask()
        point = experiment.space.ask(Suggestions(trial))
        study.tell(trial, [(number * 0.618) % 1, float(point.depth)])
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sampler", nargs="+", default=["tpe", "random"], choices=["tpe", "random"])
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for sampler, family in itertools.product(asked.sampler, FAMILIES):
        seconds: dict[str, list[float]] = {"plain Optuna, journal": [], "study, serial": []}
        for _ in range(asked.rounds):
            with tempfile.TemporaryDirectory() as temporary:
                experiment = load(Path(temporary, "a"), asked.trials, sampler, family)
                seconds["plain Optuna, journal"].append(plain(experiment, Path(temporary, "a"), sampler))
                seconds["study, serial"].append(ours(experiment, Path(temporary, "a")))
        medians = {name: statistics.median(each) for name, each in seconds.items()}
        what = f"{sampler:<7} {family:<7}"
        for name, median in medians.items():
            print(f"{what} {name:<22} {asked.trials / median:8.1f} trials/s   (median of {asked.rounds})")
        ratio = medians["plain Optuna, journal"] / medians["study, serial"]
        print(f"{what} {'ratio':<22} {ratio:8.0%}")


if __name__ == "__main__":
    main()
