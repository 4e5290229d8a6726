import pytest

from nas.advice import advice

ACCURACY = {"metric": "accuracy", "goal": "maximize"}
FLOPS = {"metric": "flops", "goal": "minimize"}
RATIO = {"metric": "accuracy_per_gflop", "goal": "maximize", "floor": 0.8}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"objectives": [RATIO]}, ["accuracy_per_gflop favours tiny networks: whatever reaches its floor (0.8)"]),
        ({"objectives": [FLOPS]}, ["no objective is of quality (flops): the cheapest network wins"]),
        ({"search": {"sampler": "nsga2"}}, ["nsga2 breeds only after 20 complete trials, and the search has 8"]),
        (
            {"objectives": [ACCURACY, RATIO], "search": {"sampler": "nsga2", "population": 4}},
            ["accuracy_per", "nsga2 cr"],
        ),
    ],
)
def test_advice(make, changes, said):
    found = list(advice(make(**changes)))
    assert len(found) == len(said)
    assert all(sentence.startswith(start) for sentence, start in zip(found, said, strict=True))


def test_it_is_said_before_a_search_and_by_a_dry_run_and_is_no_error(write, wireloom):
    path = write(objectives=[RATIO], trials=1, confirm=None)
    dry = wireloom("search", path, "--dry-run")
    assert dry.status == 0
    assert "favours tiny networks" in dry.out
    ran = wireloom("search", path, "--out", "run")
    assert ran.status == 0
    assert "favours tiny networks" in ran.out
