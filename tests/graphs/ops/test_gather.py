"""The pair of autograd functions by itself; whole models are in tests/graphs/test_fused_model.py."""

import pytest
import torch
from torch.autograd import gradcheck

from graphs import CompileError
from graphs.ops import cpu, gather, kernels, mix, reference
from graphs.ops.api import in_full
from graphs.weights import CHANNEL, SCALAR, Grain


def double(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def history(sources, weights, late=()):
    """Every mix reads every source: one fan each. Outputs of all mixes in a row; ``late`` mixes hand weights over."""
    full = [in_full(weight, SCALAR, 5) for weight in weights]

    def consumer(c, j):
        if c in late:
            return gather.Consumer(full[c].shape[1], None, (full[c].shape[0], full[c].shape[1], 1))
        return gather.Consumer(full[c].shape[1], full[c][:, :, j])

    shares = [gather.fan(x, [consumer(c, j) for c in range(len(weights))]) for j, x in enumerate(sources)]
    mixes = [gather.mix([share[c] for share in shares], weight) for c, weight in enumerate(full)]
    return [out for mixed in mixes for out in mixed]


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("k", [1, 4])
def test_one_mix(m, k):
    sources, weight = [double(3, 5, seed=j) for j in range(k)], double(m, k, seed=9)
    out, expected = mix(sources, weight, impl="fused"), mix(sources, weight)
    probe = [double(3, 5, seed=20 + i).detach() for i in range(m)]
    got = torch.autograd.grad(out, [*sources, weight], probe)
    for one, two in zip(
        (*out, *got), (*expected, *torch.autograd.grad(expected, [*sources, weight], probe)), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-13)
    assert gradcheck(lambda w, *s: mix(s, w, impl="fused"), (weight, *sources))


def test_many_consumers():
    sources = [double(3, 5, seed=j) for j in range(4)]
    weights = [double(m, 4, seed=10 + m) for m in (1, 2, 3)]
    assert gradcheck(lambda *both: tuple(history(both[:4], both[4:])), (*sources, *weights))


def test_weights_that_are_known_late():
    """Per token, with and without consumers whose weights are known: all gradients, the weights' too."""
    sources = [double(3, 5, seed=j) for j in range(3)]
    weights = [double(1, 3, seed=10), double(3, 2, 3, seed=11), double(3, 1, 3, seed=12)]
    for late in ((1,), (1, 2), (0, 1, 2)):
        given = weights if late != (1,) else weights[:2]
        assert gradcheck(lambda *both, late=late: tuple(history(both[:3], both[3:], late)), (*sources, *given))


@pytest.mark.parametrize("kind", ["token", "channel", "fraction", "both"])
@pytest.mark.parametrize("m", [1, 3])
def test_finer_weights_and_weights_per_token(kind, m):
    grain = {"token": SCALAR, "fraction": Grain(2)}.get(kind, CHANNEL)
    entry = () if grain == SCALAR else (grain.width(4),)
    leading = (2, 3) if kind in ("token", "both") else ()
    sources, weight = [double(2, 3, 4, seed=j) for j in range(3)], double(*leading, m, 3, *entry, seed=9)
    assert gradcheck(lambda w, *s: mix(s, w, grain=grain, impl="fused"), (weight, *sources))
    for one, two in zip(
        mix(sources, weight, grain=grain, impl="fused"), mix(sources, weight, grain=grain), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-13)


def test_a_source_added_as_it_is_gets_the_gradient_itself(monkeypatch):
    seen = []
    kernel = cpu.gather
    monkeypatch.setattr(
        cpu, "gather", lambda grads, sources, *rest: seen.append(sources) or kernel(grads, sources, *rest)
    )
    one, two, weight = double(3, 5), double(3, 5, seed=1), double(1, 1, seed=2)
    row = torch.cat([torch.ones(1, 1, dtype=torch.float64), weight], dim=1)[None, :, :, None]
    (out,) = gather.mix([gather.Share(one), gather.Share(two)], row, (True, False))
    grad = double(3, 5, seed=3).detach()
    got = torch.autograd.grad(out, [one, two, weight], grad)
    assert [len(sources) for sources in seen] == [1]
    assert got[0].data_ptr() == grad.data_ptr()
    torch.testing.assert_close(got[1:], (weight * grad, (grad * two).sum().view(1, 1)))


def test_consumers_that_did_not_run_have_no_part():
    sources, weights = [double(3, 5, seed=j) for j in range(2)], [double(m, 2, seed=10 + m) for m in (1, 2, 3)]
    first, *middle, _, _, _ = history(sources, weights)
    for outs in ([first], [middle[1]], [first, middle[0]]):
        loss = sum((i + 1) * out.pow(2).sum() for i, out in enumerate(outs))
        got = torch.autograd.grad(loss, [*sources, *weights], retain_graph=True, materialize_grads=True)
        plain = [out for weight in weights for out in reference.mix(sources, weight)]
        places = {id(first): 0, id(middle[0]): 1, id(middle[1]): 2}
        same = sum((i + 1) * plain[places[id(out)]].pow(2).sum() for i, out in enumerate(outs))
        for one, two in zip(got, torch.autograd.grad(same, [*sources, *weights], materialize_grads=True), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-13)


def test_the_output_gradient_goes_back_by_reference(monkeypatch):
    """No copy and no scaled copy per edge: what the kernel gets for each source are the gradients themselves."""
    seen = []
    kernel = cpu.gather
    monkeypatch.setattr(cpu, "gather", lambda grads, *rest: seen.append(grads) or kernel(grads, *rest))
    sources, weights = [double(3, 5, seed=j) for j in range(3)], [double(1, 3, seed=9), double(1, 3, seed=10)]
    grads = [torch.ones(3, 5, dtype=torch.float64), torch.ones(3, 5, dtype=torch.float64)]
    torch.autograd.backward(history(sources, weights), grads)
    assert len(seen) == 3
    assert {one.data_ptr() for each in seen for one in each} == {grad.data_ptr() for grad in grads}


def test_weights_need_not_train():
    kept = []
    sources, weight = [double(3, 5, seed=j) for j in range(3)], double(2, 3, seed=9).detach()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        out = mix(sources, weight, impl="fused")
    assert torch.Size((3, 5)) not in kept, "frozen weights: the sources are not kept"
    got, expected = (torch.autograd.grad(sum(o.pow(2).sum() for o in f), sources) for f in (out, mix(sources, weight)))
    for one, two in zip(got, expected, strict=True):
        torch.testing.assert_close(one, two)


def test_sources_need_not_train():
    sources, weight = [double(3, 5, seed=j).detach() for j in range(3)], double(2, 3, seed=9)
    got, expected = (
        torch.autograd.grad(sum(o.pow(2).sum() for o in mix(sources, weight, impl=impl)), weight)[0]
        for impl in ("fused", "reference")
    )
    torch.testing.assert_close(got, expected)
    assert not mix(sources, weight.detach(), impl="fused")[0].requires_grad


def test_second_derivatives_raise():
    x, weight = double(3, 5), double(1, 1)
    (out,) = mix([x], weight, impl="fused")
    with pytest.raises(CompileError, match="impl='fused' has first derivatives alone; compile with impl='reference'"):
        torch.autograd.grad(out.pow(2).sum(), x, create_graph=True)
    (grad,) = torch.autograd.grad(out.pow(2).sum(), x, retain_graph=True)
    with pytest.raises(CompileError, match="first derivatives alone"):
        out.pow(2).sum().backward(create_graph=True)
    assert grad.shape == x.shape


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.bfloat16), (torch.float16,), (torch.float64, torch.float32)])
def test_dtypes_of_values_and_gradients(dtypes):
    sources = [double(3, 8, seed=j).detach().to(dtypes[j % len(dtypes)]).requires_grad_() for j in range(3)]
    weight = torch.tensor([[0.5, -1.0, 2.0]], requires_grad=True)
    (out,), (expected,) = mix(sources, weight, impl="fused"), mix(sources, weight)
    assert out.dtype is expected.dtype
    torch.testing.assert_close(out, expected)
    got = torch.autograd.grad(out.float().sum(), [*sources, weight])
    for one, two in zip(got, torch.autograd.grad(expected.float().sum(), [*sources, weight]), strict=True):
        assert one.dtype is two.dtype
        torch.testing.assert_close(one, two)


def test_an_output_may_be_changed_in_place():
    x, weight = double(3, 5), double(1, 1)
    (out,) = mix([x], weight, impl="fused")
    (got,) = torch.autograd.grad(out.mul_(3).sum(), x)
    torch.testing.assert_close(got, (3 * weight.detach()).expand(3, 5))


def test_what_the_fused_form_is_not_for_runs_the_reference(monkeypatch):
    monkeypatch.setattr(gather, "mix", None)
    x = torch.ones(3, 4)
    mix([x, x], ((1, 2),), impl="fused")
    mix([x, x], torch.ones(1, 2, 2, 2), grain=Grain(2, True), impl="fused")
    together = torch.vmap(lambda states, w: mix([states, states], w, impl="fused")[0])(
        torch.ones(5, 3), torch.ones(5, 1, 2)
    )
    assert together.unique().tolist() == [2.0]
    grad = torch.func.grad(lambda w: mix([x, x], w, impl="fused")[0].sum())(torch.ones(1, 2))
    assert grad.tolist() == [[12.0, 12.0]]
    with pytest.raises(TypeError):
        mix([x, x], torch.ones(1, 2), impl="fused")


def test_the_norm():
    sources, weight, gain = [double(3, 5, seed=j) for j in range(3)], double(2, 3, seed=9), double(5, seed=11)
    out, expected = (mix(sources, weight, norm=gain, impl=impl) for impl in ("fused", "reference"))
    leaves = [*sources, weight, gain]
    grads = [torch.autograd.grad(sum(o.pow(3).sum() for o in outs), leaves) for outs in (out, expected)]
    for one, two in zip((*out, *grads[0]), (*expected, *grads[1]), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
    plain = mix(sources, weight)
    for one, two in zip(expected, plain, strict=True):
        torch.testing.assert_close(one, two / (two.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain)


def test_the_operators_pass_torch_s_checks():
    """Schema, fake tensors, autograd and tracing of dynamic shapes."""
    sources = [torch.randn(3, 4, requires_grad=True) for _ in range(3)]
    for shape in ((1, 2, 3, 1), (3, 2, 3, 1), (1, 2, 3, 4)):
        torch.library.opcheck(kernels.mix_op, (sources, torch.randn(shape, requires_grad=True)))
    grads = [torch.randn(3, 4), torch.randn(3, 4)]
    for source in (None, torch.randn(3, 4), torch.randn(3, 4, dtype=torch.float64)):
        weight = torch.randn(1, 2, 2, 1)
        torch.library.opcheck(kernels.gather_op, (grads, [source, torch.randn(3, 4)], weight, [True, False]))
    torch.library.opcheck(kernels.mix_op, ([torch.randn(3, 4).bfloat16()] * 2, torch.randn(1, 1, 2, 1)))


def test_the_operators_have_gradients_of_their_own():
    sources, weight = [double(3, 4, seed=j) for j in range(3)], double(3, 2, 3, 1, seed=9)
    assert gradcheck(lambda w, *s: kernels.mix_op(list(s), w), (weight, *sources))


def test_weights_handed_over_late_keep_their_precision():
    """Of 16-bit sources too: these differ by less than a rounding."""
    x = torch.ones(3, 5, dtype=torch.bfloat16, requires_grad=True)
    weights = [torch.full((3, 1, 1), value) for value in (1 + 2**-12, -1.0)]
    full = [in_full(weight, SCALAR, 5) for weight in weights]
    shares = gather.fan(x, [gather.Consumer(1, None, (3, 1, 1))] * 2)
    outputs = [gather.mix([share], weight)[0] for share, weight in zip(shares, full, strict=True)]
    (grad,) = torch.autograd.grad(outputs, x, [torch.ones_like(x)] * 2)
    assert grad.unique().tolist() == [2**-12]
