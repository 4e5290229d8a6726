"""The seam kernels, interpreted where there is no GPU, against the same formulas in fp64."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
if not CUDA:
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no GPU, and triton was imported without its interpreter", allow_module_level=True)
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton and the kernels are imported
pytest.importorskip("triton", reason="the Triton kernels need triton, which is for Linux and comes with CUDA builds")

from fused_models import DIM, assert_equal, probe, results  # noqa: E402
from seam_models import SEAMS, pair  # noqa: E402

import graphs  # noqa: E402
from graphs import CompileError, families  # noqa: E402
from graphs.ops import seam_run  # noqa: E402
from graphs.ops.seam_kinds import recognised  # noqa: E402
from graphs.ops.seams import links_of, seams_of  # noqa: E402
from graphs.ops.triton import seam, seam_launch  # noqa: E402
from graphs.ops.triton.seam_launch import Kind  # noqa: E402
from graphs.plan import Plan, steps_of  # noqa: E402
from graphs.rule_tensors import MIN_NORM, sinkhorn  # noqa: E402

SMALL = [Kind("mhc", n, False, 3) for n in range(1, 9)] + [
    Kind(name, n, layer) for n in range(1, 9) for name, layer in (("tanh", n % 2 == 0), ("linear", n % 2 == 1))
]


def rules(y, g, write, maps, base, gain, fixed, kind, norm=None):
    """What the kernels compute, with autograd, in the dtype of the arguments."""
    n, (p, q) = kind.streams, kind.slots
    state = write @ torch.cat([y[:, None], g], 1)
    if kind.each:
        rows = state - state.mean(-1, keepdim=True) if kind.layer else state
        logits = (rows * torch.rsqrt(rows.square().mean(-1, keepdim=True) + MIN_NORM)) @ maps.t()
        inner = torch.tanh(logits) if kind.name == "tanh" else logits
        weights = (base[:n] + gain[:n] * inner).transpose(1, 2)
    else:
        rows = state.flatten(1)
        logits = (rows * torch.rsqrt(rows.square().mean(-1, keepdim=True) + MIN_NORM)) @ maps.t()
        raised = (base + gain * logits.view(-1, p, q))[:, :, :n]
        mixed = sinkhorn(raised[:, 1 : n + 1], kind.iterations, 0)
        weights = torch.cat([raised[:, :1].sigmoid(), mixed, 2 * raised[:, n + 1 : n + 2].sigmoid()], 1)
    out = weights[:, : n + 1] @ state
    later = torch.cat([weights[:, n + 1, :, None], fixed[:, 1:].expand(len(y), n, n)], 2)
    read = out[:, 0] if norm is None else torch.nn.functional.rms_norm(out[:, 0], norm.shape, norm, MIN_NORM)
    return read, out[:, 1:], later


def compared(kind, tokens, dim, dtype=torch.float32, static=False, sharp=1.0, seed=0):
    """The largest relative error of the kernels' outputs and gradients, each by its norm."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, of=torch.float32):
        return torch.randn(*shape, generator=generator).to(of).double().to(DEVICE)

    n, (p, q) = kind.streams, kind.slots
    y, g = draw(tokens, dim, of=dtype), draw(tokens, n, dim, of=dtype)
    write = draw(n, n + 1) if static else draw(tokens, n, n + 1)
    maps = draw(kind.maps, dim if kind.each else n * dim) / (dim**0.5)
    base, gain = sharp * draw(p, q), sharp * draw(p, q)
    fixed = torch.cat([torch.zeros(n, 1), torch.eye(n)], 1).double().to(DEVICE)
    norm = draw(dim) if kind.normed else None
    leaves = [one.requires_grad_() for one in (y, g, write, maps, base, gain, norm) if one is not None]
    used = seam_launch.centred(maps) if kind.layer else maps
    outputs = rules(y, g, write, used, base, gain, fixed, kind, norm)
    probes = [draw(*outputs[0].shape, of=dtype), draw(*outputs[1].shape, of=dtype), draw(*outputs[2].shape)]
    grads = torch.autograd.grad(outputs, leaves, probes)

    def single(*tensors, of=torch.float32):
        return [one.detach().to(of).contiguous() for one in tensors]

    state, rest = single(y, g, of=dtype), single(write, used, base, gain)
    learned = None if norm is None else single(norm)[0]
    made = seam_launch.forward(*state, *rest, *single(fixed), kind, learned)
    given = (*single(*probes[:2], of=dtype), *single(probes[2]))
    found = [one for one in seam_launch.backward(*state, *rest, made, *given, kind, norm=learned) if one is not None]

    def error(got, expected):
        assert got.shape == expected.shape
        return ((got.double() - expected).norm() / expected.norm().clamp(min=1e-9)).item()

    pairs = [(made.block_input, outputs[0]), (made.streams, outputs[1]), (made.later, outputs[2])]
    return [error(*both) for both in pairs], [error(*both) for both in zip(found, grads, strict=True)]


@pytest.mark.parametrize("kind", SMALL, ids=lambda kind: f"{kind.name}{kind.streams}")
def test_values_and_every_gradient(kind):
    values, grads = compared(kind, 19 if kind.streams < 5 else 5, 70 if kind.streams < 5 else 21)
    assert max(values + grads) < 2e-6


NORMED = [Kind("mhc", n, False, 3, True) for n in (1, 3, 4, 8)] + [Kind("tanh", n, n == 3, 0, True) for n in (2, 3, 5)]


@pytest.mark.parametrize("kind", NORMED, ids=lambda kind: f"{kind.name}{kind.streams}")
@pytest.mark.parametrize(("tokens", "dim", "dtype"), [(19, 70, torch.float32), (5, 33, torch.bfloat16)])
def test_a_norm_of_the_block_s_input(kind, tokens, dim, dtype):
    values, grads = compared(kind, tokens, dim, dtype)
    assert len(grads) == 7
    if dtype is torch.float32:
        assert max(values + grads) < 3e-6
    else:
        # The interpreter cuts digits off where a GPU rounds to the nearest.
        assert max(values[:2] + grads[:2]) < (2**-8 if CUDA else 2**-7), "rounded once, behind the norm"
        assert max(values[2:] + grads[2:]) < (2e-3 if CUDA else 3e-6)


@pytest.mark.parametrize("kind", [Kind("mhc", 3, False, 5), Kind("tanh", 4, True), Kind("linear", 2)])
@pytest.mark.parametrize(("tokens", "dim"), [(1, 1), (16, 32), (17, 33), (33, 5), (300, 8)])
def test_shapes(kind, tokens, dim):
    if dim == 1 and kind.layer:
        dim = 2
    values, grads = compared(kind, tokens, dim)
    assert max(values + grads) < 5e-6


@pytest.mark.parametrize("sharp", [1.0, 3.0, 8.0])
@pytest.mark.parametrize("iterations", [1, 2, 20])
def test_sinkhorn_has_the_slope_of_all_its_steps(iterations, sharp):
    """Also far from convergence, where the last matrix alone gives another slope."""
    values, grads = compared(Kind("mhc", 4, False, iterations), 7, 16, sharp=sharp)
    assert max(values + grads) < 2e-5


@pytest.mark.parametrize("kind", [Kind("mhc", 3, False, 2), Kind("tanh", 4, True)])
def test_a_static_write(kind):
    values, grads = compared(kind, 19, 40, static=True)
    assert max(values + grads) < 2e-6


@pytest.mark.parametrize("kind", [Kind("mhc", 4, False, 4), Kind("tanh", 4, True)])
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_sixteen_bits_round_once(kind, dtype, rounding):
    values, grads = compared(kind, 19, 70, dtype)
    assert max(values[:2] + grads[:2]) < rounding, "what is stored in 16 bits"
    assert max(values[2:] + grads[2:]) < (2e-3 if CUDA else 2e-6), "what is kept in 32 bits; a GPU's products in tf32"


@pytest.fixture
def launched(monkeypatch):
    """The names of the backward kernels that ran."""
    names = []

    class Spy:
        def __init__(self, name):
            self.name, self.real = name, getattr(seam_launch, name)

        def __getitem__(self, grid):
            names.append((self.name, grid[0]))
            return self.real[grid]

    for name in ("seam_backward", "seam_backward_rows", "seam_maps"):
        monkeypatch.setattr(seam_launch, name, Spy(name))
    return names


LIMITS = [
    (Kind("mhc", 3, False, 2), 64), (Kind("mhc", 4, False, 2, True), 64), (Kind("mhc", 1, False, 2), 64),
    (Kind("tanh", 4, True), 64), (Kind("linear", 2, False, 0, True), 64), (Kind("tanh", 8), 32),
]  # fmt: skip


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize(("kind", "limit"), LIMITS, ids=str)
def test_one_kernel_backward_where_a_row_is_a_tile(kind, limit, over, launched):
    """At the limit, and one channel more."""
    values, grads = compared(kind, 19, limit + over)
    assert max(values + grads) < 3e-6
    tiles = -(-(limit + 1) // (32 if kind.streams <= 4 else 16))
    assert launched == ([("seam_backward", 2), ("seam_maps", tiles)] if over else [("seam_backward_rows", 2)])


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("kind", SMALL[:2] + SMALL[8:10] + NORMED[:3:2] + NORMED[4:6], ids=str)
def test_both_ways_of_the_same_shapes(kind, rows, launched, monkeypatch):
    if not rows:
        monkeypatch.setattr(seam_launch, "ROW", 0)
    values, grads = compared(kind, 35, 21)
    assert max(values + grads) < 3e-6
    assert [name for name, _ in launched] == (["seam_backward_rows"] if rows else ["seam_backward", "seam_maps"])


@pytest.mark.parametrize("kind", [Kind("mhc", 2, False, 2, True), Kind("tanh", 3, True)], ids=str)
@pytest.mark.parametrize(("tokens", "shares", "programs"), [(83, 1, 1), (83, 2, 2), (83, 4, 3), (96, 5, 3), (5, 4, 1)])
def test_programs_share_the_groups(kind, tokens, shares, programs, launched, monkeypatch):
    """Also where the last has fewer, and where fewer programs than may are enough."""
    monkeypatch.setattr(seam_launch, "SHARES", shares)
    values, grads = compared(kind, tokens, 12)
    assert max(values + grads) < 3e-6
    assert launched == [("seam_backward_rows", programs)]


def test_frozen_maps_take_no_sum(launched):
    y, g = torch.ones(3, DIM, device=DEVICE), torch.ones(3, 2, DIM, device=DEVICE)
    kind, write = Kind("tanh", 2), torch.ones(2, 3, device=DEVICE)
    maps, base = torch.ones(kind.maps, DIM, device=DEVICE), torch.ones(*kind.slots, device=DEVICE)
    made = seam_launch.forward(y, g, write, maps, base, base, write, kind)
    both = [
        seam_launch.backward(y, g, write, maps, base, base, made, y, g, made.later, kind, learn)
        for learn in (True, False)
    ]
    assert [name for name, _ in launched] == ["seam_backward_rows", "seam_backward"]
    assert both[1].maps is None
    for one, two in zip(both[0]._replace(maps=None), both[1], strict=True):
        assert one is two is None or torch.allclose(one, two)


def test_no_tokens():
    kind = Kind("tanh", 2, True)
    y, g, write = torch.empty(0, 8, device=DEVICE), torch.empty(0, 2, 8, device=DEVICE), torch.ones(2, 3, device=DEVICE)
    maps, base = torch.ones(kind.maps, 8, device=DEVICE), torch.ones(*kind.slots, device=DEVICE)
    made = seam_launch.forward(y, g, write, maps, base, base, write, kind)
    found = seam_launch.backward(y, g, write, maps, base, base, made, y, g, made.later, kind)
    assert found.norm is None
    assert not any(one.any() for one in found[:-1])


def test_reruns_are_equal_to_the_bit():
    _, model = pair(SEAMS["mhc3"](), torch.float32)
    first = results(model, probe(torch.float32, shape=(37, DIM)))
    assert all(map(torch.equal, results(model, probe(torch.float32, shape=(37, DIM))), first))


MODELS = [name for name in SEAMS if name[-1].isdigit() or name.startswith("hyper") or name == "mhc-normed"]


@pytest.fixture
def calls(monkeypatch):
    made = []
    real = seam.run
    monkeypatch.setattr(seam, "run", lambda *args: made.append(args[0]) or real(*args))
    monkeypatch.setattr(seam_run, "kernels", lambda device: True)
    return made


@pytest.mark.parametrize("name", MODELS)
def test_models(name, calls):
    reference, model = pair(SEAMS[name](), torch.float32)
    got = results(model, probe(torch.float32))
    assert len(calls) == len(model.blocks) - 1
    expected = results(reference.double(), probe(torch.float32).detach().double().requires_grad_())
    assert_equal([one.double() for one in got], expected, 2e-5)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["hyper3", "mhc2", "hyper-normed"])
def test_channels_elsewhere(name, axis, calls):
    topology = SEAMS[name]()
    blocks = [torch.nn.Tanh() for _ in range(topology.depth)]
    got = []
    for impl in ("reference", "fused"):
        torch.manual_seed(0)
        one = graphs.compile(topology, blocks, dim=DIM, channel_axis=axis, impl=impl)
        with torch.no_grad():
            for parameter in one.weights.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        x = probe(torch.float32, shape=(DIM, DIM, 5))
        out = one(x)
        got.append([out, *torch.autograd.grad(out.pow(2).sum(), [x, *one.parameters()], materialize_grads=True)])
    assert calls
    assert_equal(*got, 2e-5)


@pytest.mark.parametrize("name", ["hyper3", "mhc2", "mhc-normed"])
def test_parts(name, calls):
    """Hidden states, frozen parameters, a block that detaches, second derivatives: as without the kernels."""
    reference, model = pair(SEAMS[name](), torch.float32)
    for at in range(len(model.blocks)):
        x = probe(torch.float32)
        assert_equal(results(model, x, at=at), results(reference, probe(torch.float32), at=at), 2e-5)
    with pytest.raises(CompileError, match="first derivatives alone"):
        torch.autograd.grad(model(x).sum(), x, create_graph=True)
    for label, parameter in model.weights.named_parameters():
        parameter.requires_grad_("map" not in label)
    leaves = [parameter for parameter in model.parameters() if parameter.requires_grad]
    got = torch.autograd.grad(model(x).pow(2).sum(), leaves, materialize_grads=True)
    named = dict(reference.named_parameters())
    wanted = [named[label] for label, parameter in model.named_parameters() if parameter.requires_grad]
    expected = torch.autograd.grad(reference(x).pow(2).sum(), wanted, materialize_grads=True)
    assert_equal(got, expected, 2e-5)
    assert calls


def test_who_is_left_to_plain_torch(calls):
    """fp64, rules that the kernels do not know, and segments that keep one state."""
    for name in ("mhc-identity", "mhc-permutations", "normalised", "general", "static-write"):
        _, model = pair(SEAMS[name](), torch.float32)
        results(model, probe(torch.float32))
    results(pair(SEAMS["mhc2"]())[1])
    results(pair(SEAMS["mhc2"](), torch.float32, recompute=9)[1], probe(torch.float32))
    assert calls == []


def test_what_the_kernels_know_of_norms():
    plan = graphs.lower(families.mhc(4, streams=3, iterations=7, pre_norm=True))
    found = seams_of(plan)
    known = [recognised(plan, *both) for both in zip(found, links_of(found, False), strict=True)]
    assert [one.norm for one in known[1:-1]] == [f"norm{n}_gain" for n in (2, 3, 4)]
    layered = [
        replace(op, norm=replace(op.norm, kind="layer")) if getattr(op, "norm", None) else op
        for op in plan.topology.ops
    ]
    other = plan.topology.with_ops(tuple(layered))
    plan = Plan(other, steps_of(other), other)
    assert not any(
        recognised(plan, *both) for both in zip(seams_of(plan), links_of(seams_of(plan), False), strict=True)
    )


def test_what_the_kernels_know():
    def known(topology):
        plan = graphs.lower(topology)
        found = seams_of(plan)
        return [recognised(plan, *both) for both in zip(found, links_of(found, False), strict=True)]

    first, *middle, last = known(families.mhc(4, streams=3, iterations=7))
    assert first is None
    assert last is None
    assert {(one.name, one.streams, one.iterations) for one in middle} == {("mhc", 3, 7)}
    middle = known(families.hyper(4, streams=2, dynamic=True, tanh=False))[1:-1]
    assert {(one.name, one.layer) for one in middle} == {("linear", True)}
    assert not any(known(families.hyper(3, streams=9, dynamic=True))), "more streams than the kernels take"
    with pytest.raises(CompileError, match="1 to 8 streams, not 9"):
        Kind("tanh", 9).checked()


@pytest.mark.slow
def test_kernels_compile_for_an_h200_without_spilling():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    program = Path(__file__).parents[1] / "seam_offline.py"
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 22
    for kernel, kind, streams, _, spilled, shared in lines:
        assert int(shared) <= 227 * 1024, "what a program may have"
        few = 256 if kernel == "seam_backward_rows" else 0
        assert int(spilled) <= (few if int(streams) <= 4 else 1024), (kernel, kind, streams)
