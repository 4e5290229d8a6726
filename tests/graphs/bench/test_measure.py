"""Counts are exact, wrong results are not timed, and every kind runs."""

import pytest
import torch
from torch import nn

from graphs import CompileError, families
from graphs.bench import KINDS, Shape, measure, measured, models
from graphs.bench.measure import Counter, check, counted, seconds_per_td, timed
from graphs.ops import cpu

SMALL = Shape(depth=5, rows=32, dim=8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", ["mlp", "identity"])
def test_every_kind_is_measured(kind, blocks):
    seen = []
    figures = measured(kind, SMALL, rounds=2, blocks=blocks, progress=lambda *step: seen.append(step))
    names = [one.name for one in figures]
    assert names[:2] == ["plain", "reference"]
    assert names[-1] == "fused"
    assert figures[0].ratio == 1
    assert all(one.least <= one.seconds <= one.most for one in figures)
    assert len(seen) == 3 * len(figures)


def test_a_topology_is_measured():
    figures = measured(families.to_output(5), SMALL, rounds=1)
    assert [one.name for one in figures] == ["plain", "reference", "fused"]
    with pytest.raises(CompileError, match="there is no benchmark 'sparse'; there are dense, ancre"):
        measured("sparse", SMALL)


@pytest.mark.parametrize("kernel", ["mix", "gather"])
def test_what_is_wrong_is_not_timed(monkeypatch, kernel):
    right = getattr(cpu, kernel)

    def wrong(*arguments):
        result = right(*arguments)
        (result if kernel == "mix" else result[0])[-1].mul_(1 + 1e-6)
        return result

    monkeypatch.setattr(cpu, kernel, wrong)
    monkeypatch.setattr(measure, "timed", None)
    with pytest.raises(CompileError, match=r"fused.*differs from the reference by .*; nothing is timed"):
        measured("dense", SMALL)


def test_counted_traffic_is_that_of_the_plan():
    """Pointer kernels move what the bound says; of the ungrouped average each edge is one Td each way."""
    counts = counted("dense", Shape(depth=48, rows=256, dim=16))
    edges = 48 * 51 // 2
    assert counts["plain"] == (6 * 48, 48)
    assert counts["fused ungrouped"][0] / edges < 2.2
    assert counts["fused"][0] / edges < 1.0
    assert counts["fused"][1] <= 2 * 48
    hyper = counted("hyper", Shape(depth=48, rows=256, dim=16))
    assert hyper["fused"][0] < 0.1 * 14146 / 48 * 48, "of what eager hyper-connections move"
    for kind in ("dense", "hyper"):
        found = {
            one.name: one for one in measured(kind, Shape(depth=48, rows=256, dim=16), rounds=1, blocks="identity")
        }
        assert found["fused"].bound <= found["fused"].traffic < 1.25 * found["fused"].bound


def test_the_counter_counts_elements_in_and_out():
    x, y = torch.ones(4, 8), torch.ones(4, 8)
    for work, moved in (
        (lambda: x + y, 3),
        (lambda: x.add_(y), 3),
        (lambda: x.t().reshape(4, 8), 2),
        (lambda: x.view(-1), 0),
        (lambda: x.copy_(y), 2),
        (lambda: x.zero_(), 1),
        (lambda: torch.mul(x, y, out=x), 3),
        (lambda: x * y[:1, :1].expand(4, 8), 2),
        (lambda: x * 2, 2),
        (lambda: torch.stack([x, y]), 4),
    ):
        with Counter(32) as counter:
            work()
        assert counter.elements == moved * 32


def test_steps_are_timed_in_turns():
    order = []

    class Named(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.name = name

        def forward(self, x):
            order.append(self.name)
            return x * self.scale

    times = timed({name: Named(name) for name in "abc"}, torch.ones(2, 2, requires_grad=True), 3)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3, "c": 3}
    assert seconds_per_td(torch.ones(4, 4)) > 0


def test_the_eager_sum_is_the_average_of_the_paper():
    made = models.variants("dense", SMALL)
    x = torch.randn(3, 8)
    history = [x]
    for i, block in enumerate(made["plain"].blocks, start=1):
        history.append(block(x))
        x = sum(w * y for w, y in zip(getattr(made["reference"].weights, f"average{i}")[0], history, strict=True))
    torch.testing.assert_close(made["eager sum"](history[0]), x)
    check("dense", SMALL)
