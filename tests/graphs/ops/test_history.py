"""The buffer by itself: what it keeps, moves and refuses. Whole models are in tests/graphs/test_fused_model.py."""

import importlib.util
from pathlib import Path

import pytest
import torch
from fused_models import DIM, HISTORIES, both, results
from torch import nn

import graphs
from graphs import CompileError, families
from graphs.ops.history import History
from graphs.ops.layout import layout_of

BENCH = Path(__file__).parents[3] / "experiments" / "bench" / "mix_cpu.py"


@pytest.fixture
def poisoned(monkeypatch):
    """Fresh memory holds NaN."""
    empty = torch.empty

    def nan(*size, **kw):
        made = empty(*size, **kw)
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty", nan)


@pytest.mark.parametrize("name", HISTORIES)
def test_fresh_memory_is_never_read(name, poisoned):
    """Buffers that start as NaN change nothing: what is not written is not read."""
    reference, fused = both(HISTORIES[name]())
    for one, two in zip(results(fused), results(reference), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


def test_a_gradient_from_the_middle_reads_zeros_not_nan(poisoned):
    reference, fused = both(families.dense(20, inner=False))
    for at in (0, 7, 8, 19):
        got = [results(model, at=at) for model in (fused, reference)]
        for one, two in zip(*got, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


def test_anomaly_mode_sees_no_fresh_memory(poisoned):
    """It looks for NaN in every gradient, the handle's among them."""
    _, fused = both(families.dense(20, inner=False))
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        results(fused)


def test_a_wider_state_is_refused_by_name():
    class Widen(nn.Module):
        def forward(self, u):
            return u.double()

    model = graphs.compile(families.dense(9, inner=False), [Widen() for _ in range(9)], dim=DIM, impl="fused")
    with pytest.raises(CompileError, match=r"dtype torch.float64 where x0 asks for sums in torch.float32"):
        model(torch.ones(2, DIM))


def test_rows_do_not_change_under_what_is_saved():
    """Writing a later row leaves the version of what is saved of earlier ones alone, and of nothing else."""
    layout = layout_of(graphs.lower(families.dense(9, inner=False)))
    weights = [torch.ones(1, len(read.columns)) for _, read in sorted(layout.reads.items())]
    history = History(layout, torch.ones(2, 3), weights)
    saved = history.alias(0, 1)
    history.push(layout.pushes["x0"], torch.ones(2, 3))
    assert saved._version == 0
    assert saved.data_ptr() == history.data.data_ptr()


def test_counted_traffic_and_memory_at_48_blocks():
    """At most 2.4 Td per edge forward and backward; the buffer and the blocks' own inputs, and no more, are kept."""
    spec = importlib.util.spec_from_file_location("mix_cpu", BENCH)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    counts = bench.counted(48, 128, 64)
    assert counts["plain"][0] == 6.0, "the counter knows the residual network: 3 forward and 3 backward a block"
    assert counts["fused"][0] < 2.1
    assert counts["eager sum"][0] > 13
    assert counts["fused"][1] == pytest.approx(97 / 48)
