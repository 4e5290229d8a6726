import math

import pytest
import torch
from torch import nn

from trainers.errors import TrainerError
from trainers.initial import initialise, restart


def test_linear_is_uniform_within_the_bound_and_norms_are_the_identity() -> None:
    module = nn.Sequential(nn.Linear(400, 300), nn.LayerNorm(300))
    for parameter in module.parameters():
        nn.init.constant_(parameter, 9.0)
    initialise(module, seed=0, name="block1")
    linear, norm = module
    assert isinstance(linear, nn.Linear)
    assert isinstance(norm, nn.LayerNorm)
    bound = 1 / math.sqrt(400)
    weight = linear.weight.detach()
    # 120,000 draws: the largest misses the bound by less than 1 part in 1,000 but for odds of exp(-120).
    assert 0.999 * bound < weight.abs().max() <= bound
    # Three standard errors of a mean and of a variance of 120,000 uniform draws.
    assert abs(weight.mean()) < 3 * bound / math.sqrt(3 * 120_000)
    assert abs(weight.var() / (bound**2 / 3) - 1) < 3 * math.sqrt(0.8 / 120_000)
    assert not linear.bias.any()
    assert (norm.weight == 1).all()
    assert not norm.bias.any()


def test_order_and_global_generator_do_not_matter() -> None:
    torch.manual_seed(1)
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    before = torch.get_rng_state()
    initialise(first, seed=5, name="block1")
    initialise(second, seed=5, name="block2")
    assert torch.equal(torch.get_rng_state(), before)

    torch.manual_seed(2)
    again = nn.Linear(4, 4)
    initialise(again, seed=5, name="block2")
    assert torch.equal(again.weight, second.weight)
    assert not torch.equal(first.weight, second.weight)


def test_parameters_of_one_module_draw_apart() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    initialise(module, seed=0, name="block1")
    assert not torch.equal(module[0].weight, module[1].weight)


def test_scales_multiply_the_same_draw_and_tell_the_last_linear_map_from_the_others() -> None:
    def weights(**scales: float) -> list[torch.Tensor]:
        module = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 6), nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 4))
        initialise(module, seed=0, name="block1", **scales)
        assert (module[0].weight == 1).all()
        assert not any(module[i].bias.any() for i in (1, 2, 4))
        return [module[i].weight for i in (1, 2, 4)]

    plain = weights()
    assert all(weight.any() for weight in plain)
    for inner, output in ((0.3, 1.0), (1.0, 3.0), (0.3, 3.0), (1.0, 0.0)):
        scaled = weights(inner_scale=inner, output_scale=output)
        for start, weight, scale in zip(plain, scaled, (inner, inner, output), strict=True):
            assert torch.equal(weight, start * scale)


def test_other_dtypes_get_the_same_numbers_rounded() -> None:
    single, double = nn.Linear(4, 4), nn.Linear(4, 4, dtype=torch.float64)
    initialise(single, seed=0, name="block1")
    initialise(double, seed=0, name="block1")
    assert torch.equal(single.weight.double(), double.weight)


def test_a_module_without_a_rule_is_refused_by_name() -> None:
    with pytest.raises(TrainerError, match=r"cannot initialise '1.weight' of 'block3'.*Conv2d"):
        initialise(nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 1, 1)), seed=0, name="block3")


def test_an_embedding_is_normal_with_variance_one_over_its_width() -> None:
    module = nn.Embedding(500, 100)
    initialise(module, seed=0, name="stem")
    weight = module.weight.detach()
    # Three standard errors of the mean and of the variance of 50,000 normal draws.
    assert abs(weight.mean()) < 3 * 0.1 / math.sqrt(50_000)
    assert abs(weight.var() / 0.01 - 1) < 3 * math.sqrt(2 / 50_000)
    assert weight.abs().max() > 0.3, "normal, not uniform"


def test_a_map_marked_unscaled_is_left_alone() -> None:
    def start(mark: bool) -> torch.Tensor:
        module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        if mark:
            module[0].unscaled = True
        initialise(module, seed=0, name="block1", inner_scale=0.5)
        weight: torch.Tensor = module[0].weight
        return weight

    assert torch.equal(start(mark=False), 0.5 * start(mark=True))


def test_somebody_elses_module_is_reset_by_its_own_rule_from_seed_and_name() -> None:
    def start(seed: int, name: str) -> torch.Tensor:
        module = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Conv1d(3, 3, 3))
        restart(module, seed=seed, name=name)
        assert (module[1].weight == 1).all()
        assert not torch.equal(module[0].weight[:, :, 0], module[2].weight[:, :2, 0])
        weight: torch.Tensor = module[2].weight
        return weight

    before = torch.get_rng_state()
    module = nn.Conv1d(2, 3, 3)
    torch.set_rng_state(before)
    restart(module, seed=1, name="block1")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(start(1, "block1"), start(1, "block1"))
    assert not torch.equal(start(1, "block1"), start(1, "block2"))
    assert not torch.equal(start(1, "block1"), start(2, "block1"))
