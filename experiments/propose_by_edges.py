"""A sample of a program that proposes to a running search by its open door: the best topology with one edge changed.

    python experiments/propose_by_edges.py runs/digits [--count 10] [--seed 0]

It reads and writes files alone (see DIR/proposals/README.md) and imports nothing of wireloom: in place of the mutation
an LLM, or anything else, may think of something better.
"""

import argparse
import json
import random
import time
from pathlib import Path

POLL = 0.2  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the search's folder")
    parser.add_argument("--count", type=int, default=10, help="how many proposals")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds to wait for one answer")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    for number in range(options.count):
        best = first_with_edges(options.run, options.timeout)
        depth, edges = best["depth"], {(i, j): weight for i, j, weight in best["edges"]}
        changed = mutated(edges, depth, rng)
        name = f"edges-{options.seed}-{number:04d}"
        note = f"one edge beside trial {best['trial']}"
        send(options.run, name, {"depth": depth, "edges": changed, "parent": best["trial"], "note": note})
        found = answer(options.run, name, options.timeout)
        print(name, found["status"], json.dumps(found.get("objectives")), found["reason"] or "", flush=True)


def first_with_edges(run: Path, timeout: float) -> dict:
    """The best member of the front that is edges and nothing else; waits for the first."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        front = read(run / "results" / "_front.json") or []
        for member in front:
            if member["edges"] is not None:
                return member
        time.sleep(POLL)
    raise SystemExit(f"{run}: no topology of edges alone on the front after {timeout:g} s")


def mutated(edges: dict, depth: int, rng: random.Random) -> list:
    """One edge more or one less, every node still fed."""
    while True:
        i, j = sorted(rng.sample(range(depth + 2), 2))
        changed = dict(edges)
        if changed.pop((i, j), None) is None:
            changed[i, j] = 1
        if {reader for _, reader in changed} == set(range(1, depth + 2)):
            return [[*edge, weight] for edge, weight in sorted(changed.items())]


def send(run: Path, name: str, proposal: dict) -> None:
    """Write elsewhere, then rename: the search never sees half a file. JSON is YAML."""
    draft = run / "proposals" / f".{name}"
    draft.write_text(json.dumps(proposal), encoding="utf-8")
    draft.replace(run / "proposals" / f"{name}.yaml")


def answer(run: Path, name: str, timeout: float) -> dict:
    """The result, once it is the last word on the proposal."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = read(run / "results" / f"{name}.json")
        if found is not None and found["final"]:
            return found
        time.sleep(POLL)
    raise SystemExit(f"{run}: {name} was not answered in {timeout:g} s")


def read(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there yet
        return None


if __name__ == "__main__":
    main()
