import pytest
import torch

from graphs.errors import UserError
from nas.experiment import Experiment
from nas.resources import Resources, Share, share_of

GIB = 2**30


@pytest.mark.parametrize(
    ("given", "threads", "peak", "device", "share"),
    [
        ({}, None, GIB, None, Share(1, 0)),
        ({}, 4, GIB, None, Share(4, 0)),
        ({"cpu": 2}, 4, GIB, None, Share(2, 0)),
        ({}, None, 10 * GIB, 80 * GIB, Share(1, 1 / 7)),
        ({}, None, 79 * GIB, 80 * GIB, Share(1, 1)),
        ({}, None, 200 * GIB, 80 * GIB, Share(1, 1)),
        ({"gpu": 0.25}, None, 200 * GIB, 80 * GIB, Share(1, 0.25)),
        ({"gpu": 0}, None, GIB, 80 * GIB, Share(1, 0)),
        ({"gpu": 1}, None, GIB, None, Share(1, 1)),
        ({"gpu": 2}, 3, GIB, None, Share(6, 2, 2)),
        ({"workers": 4, "cpu": 8}, 3, GIB, None, Share(8, 0, 4)),
        ({"workers": 4}, None, GIB, 80 * GIB, Share(4, 4, 4)),
        ({"workers": 2, "gpu": 0}, None, GIB, 80 * GIB, Share(2, 0, 2)),
        ({"workers": 1}, None, 10 * GIB, 80 * GIB, Share(1, 1 / 7)),
    ],
)
def test_a_share_is_what_the_file_says_or_what_memory_needs(given, threads, peak, device, share):
    assert share_of(Resources(**given), device, threads=threads, peak=peak) == share


def test_they_are_part_of_an_experiment(make):
    plain = make()
    assert plain.resources == Resources()
    changed = make(resources={"cpu": 2, "gpu": 0.25, "seconds": 3600})
    assert changed.resolved()["resources"] == {"cpu": 2.0, "gpu": 0.25, "seconds": 3600.0}
    assert isinstance(changed, Experiment)


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"gpu": 1.5}, "1.5 is neither a part of one nor a whole number; write 1 or 2"),
        ({"cpu": 0}, "more than 0"),
        ({"gpu": -1}, "at least 0"),
        ({"seconds": 0}, "more than 0"),
        ({"gpus": 1}, "did you mean"),
        ({"workers": 0}, "at least 1"),
        ({"workers": 2, "gpu": 1}, "2 of them cannot have 1 GPUs, one each; write gpu: 2"),
        ({"workers": 1, "gpu": 4}, "1 of them cannot have 4 GPUs, one each; write workers: 4"),
        ({"workers": 2, "gpu": 0.5}, "one each; write gpu: 2"),
        (
            {"workers": 5},
            "resources.workers: 5 workers cannot have equal parts of a batch of 32; set train.batch to 30",
        ),
        ({"gpu": 64}, "resources.gpu: 64 workers cannot have equal parts"),
    ],
)
def test_nonsense_is_refused_where_it_stands(make, resources, said):
    with pytest.raises(UserError, match=said) as caught:
        make(resources=resources)
    assert "resources" in str(caught.value)


def test_a_share_holds_for_the_threads_of_torch():
    before = torch.get_num_threads()
    try:
        Share(3).enforce()
        assert torch.get_num_threads() == 3
        Share(0.5).enforce()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_share_reads_as_it_is_written():
    assert str(Share(2)) == "{cpu: 2}"
    assert str(Share(1, 0.25)) == "{cpu: 1, gpu: 0.25}"
    assert str(Share(4, 0, 2)) == "{cpu: 4, workers: 2}"


def test_each_process_has_its_part():
    assert Share(4, 2, 2).each == Share(2, 1)
