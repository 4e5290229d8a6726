"""Whether a search that met with faults lost nothing: its folder, its log and MLflow, counted independently.

The log is read as it stands and added up here once more; what the program itself says of the run must be the same.
"""

import csv
import math
import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from nas import tracking
from nas.errors import RunFolderError
from nas.events import read
from nas.ledger import Ledger
from nas.records import Status
from nas.spending import spending
from nas.stores import NUMBER

ROOT = Path(__file__).parents[1]
# What a trial's fault makes of it, and how the reason begins; the others end like trials that nothing happened to.
ENDS = {
    "hang": (Status.FAILED, "out of time: ended after resources.seconds"),
    "memory": (Status.FAILED, "out of memory: "),
    "raise": (Status.FAILED, "LookupError: nothing like it was foreseen"),
    "nan": (Status.DIVERGED, ""),
}
FILES_PER_TRIAL, FILES_BESIDE = 5, 30


@dataclass
class Conformance:
    """What was counted, and every way in which it is not as it should be."""

    counts: dict[str, int | float] = field(default_factory=dict)
    restarts: Counter[str] = field(default_factory=Counter)  # by what the restarted trial or its driver met with
    wrong: list[str] = field(default_factory=list)

    def same(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.wrong.append(f"{what}: {found!r}, and not {wanted!r}")


def examine(run: Path, trials: int, fates: dict[int, str], marks: Path, store: str) -> Conformance:
    """Look at a finished search of ``trials`` trials, whose faults were ``fates``; ``store`` is MLflow's database."""
    found = Conformance()
    events = read(run / "events.jsonl")
    of_trials(found, events, trials, fates, marks)
    try:
        of_budget(found, events, run)
    except RunFolderError as error:  # the log contradicts itself
        found.wrong.append(str(error))
    _tracking(found, str(events[0]["key"]), trials, store)
    _folder(found, run, trials, store)
    return found


def of_trials(found: Conformance, events, trials: int, fates: dict[int, str], marks: Path) -> None:
    asked = [event["number"] for event in events if event["event"] == "ask" and event["verdict"] == "job"]
    results = [event for event in events if event["event"] == "result"]
    told = Counter(event["number"] for event in results)
    running: set[int] = set()
    for event in events:
        if event["event"] in ("ask", "promote") and event.get("verdict", "job") == "job":
            running.add(event["number"])
        elif event["event"] == "result":
            running.discard(event["number"])
    found.counts |= {
        "asked for": trials,
        "accounted": len(told),
        "lost": len(set(asked) - set(told)) + max(0, trials - len(asked)),
        "duplicated": sum(count - 1 for count in told.values()),
        "left RUNNING": len(running),
        "faults": len(fates),
    }
    found.same("trials asked for", sorted(asked), list(range(trials)))
    found.same("trials told", sorted(told.items()), [(number, 1) for number in range(trials)])
    found.same("trials left RUNNING", sorted(running), [])
    found.same("the log's last event", events[-1]["event"], "end")
    for event in results:
        number = event["number"]
        status, reason = ENDS.get(fates.get(number, ""), (Status.COMPLETE, ""))
        found.same(f"trial {number}, {fates.get(number, 'unhurt')}: status", event["status"], status.value)
        if not str(event["reason"] or "").startswith(reason):
            found.wrong.append(f"trial {number}, {fates[number]}: its reason is {event['reason']!r}")
        found.counts[event["status"]] = found.counts.get(event["status"], 0) + 1
    unhurt = [
        f"{number} ({fate})" for number, fate in sorted(fates.items()) if not (marks / f"struck-{number}").exists()
    ]
    found.same("faults that never struck", unhurt, [])
    for event in events:
        if event["event"] == "restart":
            # Without a reason: a later driver found it cut off. With one: its worker died.
            fate = fates.get(event["number"], "")
            known = fate in ("worker", "node")
            found.restarts["driver or disk" if "reason" not in event else fate if known else "a neighbour's fault"] += 1


def of_budget(found: Conformance, events, run: Path) -> None:
    """Every reported FLOP is a result's, or was lost to an interruption and not found again in a checkpoint."""
    spent = {event["number"]: event["spent_flops"] for event in events if event["event"] == "result"}
    lost = 0.0
    reached: dict[int, float] = defaultdict(float)  # by the attempt under way
    owed: dict[int, float] = {}  # what the attempt before had reported, as far as this one has not found it kept
    for event in events:
        number = event.get("number")
        if event["event"] == "restart" and reached[number]:
            owed[number] = reached[number]
            lost += reached.pop(number)
        if event["event"] == "report":
            flops = event["point"]["flops"]
            if event.get("kept") and number in owed:
                again = min(max(0.0, flops - reached[number]), owed[number])
                owed[number] -= again
                lost -= again
            reached[number] = max(reached[number], flops)
    for event in events:
        if event["event"] == "result" and event["status"] == Status.COMPLETE:
            number = event["number"]
            if not math.isclose(event["spent_flops"], reached[number]):
                found.wrong.append(
                    f"trial {number}: it spent {event['spent_flops']:g}, but reported {reached[number]:g}"
                )
    parts = spending(Ledger.replay(events))
    with (run / "trials.csv").open(newline="") as file:
        table = sum(float(row["spent_flops"]) for row in csv.DictReader(file))
    found.counts["GFLOPs spent"] = round((sum(spent.values()) + lost) / 1e9, 6)
    found.counts["GFLOPs lost"] = round(lost / 1e9, 6)
    for what, value, wanted in (
        ("spending, all of it", sum(parts.values()), sum(spent.values()) + lost),
        ("spending, lost to interruptions", parts["lost to interruptions"], lost),
        ("spending, in trials.csv", table, sum(spent.values())),
    ):
        if not math.isclose(value, wanted, rel_tol=1e-9, abs_tol=1.0):
            found.wrong.append(f"{what}: {value:g}, and the log adds up to {wanted:g}")


def _tracking(found: Conformance, key: str, trials: int, store: str) -> None:
    runs = tracking.survey(store, key)
    numbers = Counter(int(run.tags[NUMBER]) for run in runs if NUMBER in run.tags)
    found.counts["MLflow runs of trials"] = numbers.total()
    found.same("MLflow runs of trials", sorted(numbers.items()), [(number, 1) for number in range(trials)])
    found.same(
        "MLflow runs by key, those there twice", [k for k, n in Counter(r.key for r in runs).items() if n > 1], []
    )
    found.same("MLflow runs RUNNING", [run.key for run in runs if run.status == "RUNNING"], [])


def _folder(found: Conformance, run: Path, trials: int, store: str) -> None:
    files = [path for path in run.rglob("*") if path.is_file()]
    found.counts["files"] = len(files)
    if len(files) > FILES_PER_TRIAL * trials + FILES_BESIDE:
        found.wrong.append(f"{len(files)} files are left of {trials} trials")
    found.same("checkpoints left", [path.name for path in (run / "checkpoints").glob("*")], [])
    doctor = subprocess.run(
        [sys.executable, "-m", "nas", "doctor", str(run)],
        cwd=ROOT, env=os.environ | {"MLFLOW_TRACKING_URI": store}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found.same("wireloom doctor", doctor.stdout + doctor.stderr, "healthy\n")
