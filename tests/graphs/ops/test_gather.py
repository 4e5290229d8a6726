"""The pair of autograd functions by itself; whole models are in tests/graphs/test_fused_model.py."""

import pytest
import torch
from torch.autograd import gradcheck

from graphs import CompileError
from graphs.ops import cpu, gather, mix, reference


def double(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def history(sources, weights):
    """Every mix reads every source: one fan each. Outputs of all mixes in a row."""
    shares = [gather.fan(x, [weight[:, j] for weight in weights]) for j, x in enumerate(sources)]
    mixes = [gather.mix([share[c] for share in shares], weight) for c, weight in enumerate(weights)]
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
    """No copy and no scaled copy per edge: what the kernel gets is the gradient itself."""
    seen = []
    kernel = cpu.gather
    monkeypatch.setattr(cpu, "gather", lambda grads, *rest: seen.append(grads) or kernel(grads, *rest))
    sources = [double(3, 5, seed=j) for j in range(3)]
    (out,) = mix(sources, double(1, 3, seed=9), impl="fused")
    grad = torch.ones(3, 5, dtype=torch.float64)
    out.backward(grad)
    assert len(seen) == 3
    assert {one.data_ptr() for grads in seen for one in grads} == {grad.data_ptr()}


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
    monkeypatch.setattr(gather, "fan", None)
    x = torch.ones(3, 4)
    for weight in (((1, 2),), torch.ones(3, 1, 2)):
        mix([x, x], weight, impl="fused")
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
    torch.library.opcheck(gather.mix_op, (sources, torch.randn(2, 3, requires_grad=True)))
    grads = [torch.randn(2, 3, 4), torch.randn(1, 3, 4)]
    for source in (None, torch.randn(3, 4), torch.randn(3, 4, dtype=torch.float64)):
        torch.library.opcheck(gather.gather_op, (grads, source, torch.randn(3)))
    torch.library.opcheck(gather.mix_op, ([torch.randn(3, 4).bfloat16()] * 2, torch.randn(1, 2)))


def test_the_operators_have_gradients_of_their_own():
    sources, weight = [double(3, 4, seed=j) for j in range(3)], double(2, 3, seed=9)
    assert gradcheck(lambda w, *s: gather.mix_op(list(s), w), (weight, *sources))
