"""Flat parameters, stacked networks and precision, against plain PyTorch."""

import numpy as np
import pytest
import torch

from embodied.engine.flat import FlatParameters, TargetCopy, cosine_decay
from embodied.engine.networks import mlp, orthogonal_mlp, repeat_members, split_members
from embodied.engine.precision import MODES, has_fast_bf16, set_matmul_precision
from embodied.errors import UserError


def parameters(device="cpu"):
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (3, 4), "b": (4,), "c": (2, 2, 5)}
    return {k: torch.randn(v, generator=generator).to(device) for k, v in shapes.items()}


def square_loss(views):
    return sum(((i + 1.0) * value - 1.0).square().sum() for i, value in enumerate(views.values()))


# --- flat parameters --------------------------------------------------------------------------


def test_the_flat_adam_is_adam_on_separate_tensors(device):
    flat = FlatParameters(parameters(device), learning_rate=0.01)
    plain = {key: value.requires_grad_() for key, value in parameters(device).items()}
    adam = torch.optim.Adam(plain.values(), lr=0.01, fused=False, foreach=False)
    for step in range(20):
        rate = 0.01 * (1.0 - step / 40)
        flat.set_learning_rate(rate)
        adam.param_groups[0]["lr"] = rate
        flat.step(square_loss(flat.views))
        adam.zero_grad()
        square_loss(plain).backward()
        adam.step()
    for key, value in plain.items():
        torch.testing.assert_close(flat.views[key], value, rtol=1e-5, atol=1e-6)


def test_the_views_are_the_flat_buffer():
    flat = FlatParameters(parameters(), 0.01)
    joined = torch.cat([value.detach().flatten() for value in flat.views.values()])
    assert torch.equal(joined, flat.flat.detach())
    flat.step(square_loss(flat.views))
    after = torch.cat([value.detach().flatten() for value in flat.views.values()])
    assert torch.equal(after, flat.flat.detach())
    assert not torch.equal(after, joined)


def test_initial_values_are_copied():
    initial = parameters()
    kept = {key: value.clone() for key, value in initial.items()}
    flat = FlatParameters(initial, 0.1)
    flat.step(square_loss(flat.views))
    assert all(torch.equal(initial[key], kept[key]) for key in kept)


def test_gradients_do_not_pile_up_from_step_to_step():
    flat = FlatParameters(parameters(), 0.0)  # nothing moves, so the gradient must repeat
    gradients = []
    for _ in range(2):
        flat.step(square_loss(flat.views))
        gradients.append(flat.flat.grad.clone())
    assert gradients[0].abs().max() > 0
    assert torch.equal(*gradients)


def test_a_target_follows_by_its_rate_and_is_not_the_source():
    flat = FlatParameters(parameters(), 0.1)
    target = TargetCopy(flat)
    begin = flat.flat.detach().clone()
    flat.step(square_loss(flat.views))
    assert torch.equal(target.flat, begin)
    target.follow(flat, 0.25)
    expected = 0.75 * begin + 0.25 * flat.flat.detach()
    torch.testing.assert_close(target.flat, expected)
    joined = torch.cat([value.flatten() for value in target.views.values()])
    assert torch.equal(joined, target.flat)
    assert [v.shape for v in target.views.values()] == [v.shape for v in flat.views.values()]


def test_the_cosine_falls_from_one_to_zero_and_stays_there():
    assert [cosine_decay(step, 4) for step in (0, 2, 4, 9)] == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert cosine_decay(1, 4) == pytest.approx(0.5 + 0.5 * np.sqrt(0.5))


# --- networks ---------------------------------------------------------------------------------


def test_a_stack_is_its_networks_one_by_one():
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    weights = orthogonal_mlp("q", [5, 8, 6, 1], generators, members=2)
    for key, value in weights.items():
        if key.endswith("bias"):
            value.copy_(torch.randn(value.shape))
    x = torch.randn(2, 7, 5)
    found = split_members(mlp(weights, "q", repeat_members(x, 2)), 2)
    assert found.shape == (2, 2, 7)
    for seed in range(2):
        for member in range(2):
            row = x[seed]
            for layer in range(3):
                linear = torch.nn.functional.linear(
                    row,
                    weights[f"q.{layer}.weight"][2 * seed + member].T,
                    weights[f"q.{layer}.bias"][2 * seed + member, 0],
                )
                row = linear.relu() if layer < 2 else linear
            torch.testing.assert_close(found[member, seed], row[:, 0])


def test_initial_weights_are_orthogonal_with_gain_sqrt_two():
    weights = orthogonal_mlp("v", [6, 4, 1], [torch.Generator().manual_seed(0)])
    first = weights["v.0.weight"][0]
    torch.testing.assert_close(first.T @ first, 2.0 * torch.eye(4), rtol=1e-5, atol=1e-5)
    assert weights["v.1.weight"][0].norm().item() == pytest.approx(np.sqrt(2.0), rel=1e-5)
    assert not weights["v.0.bias"].any()


# --- precision --------------------------------------------------------------------------------


@pytest.fixture(name="restore_precision")
def _restore_precision():
    yield
    set_matmul_precision("float32")


@pytest.mark.usefixtures("restore_precision")
def test_bf16_products_are_coarser_and_float32_comes_back():
    if not has_fast_bf16():
        pytest.skip("the processor has no bf16 products")
    a = torch.randn(4, 256, 256, generator=torch.Generator().manual_seed(0))
    exact = a.double() @ a.double()
    errors = {}
    for mode in (*MODES, "float32"):
        set_matmul_precision(mode)
        errors[mode] = ((a @ a).double() - exact).norm() / exact.norm()
    assert errors["float32"] < 1e-6
    assert 1e-4 < errors["bf16"] < 1e-2


@pytest.mark.usefixtures("restore_precision")
def test_asking_for_bf16_leaves_the_precision_as_it_was():
    for mode, kept in MODES.items():
        set_matmul_precision(mode)
        has_fast_bf16()
        assert torch.backends.mkldnn.matmul.fp32_precision == kept


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="float32 or bf16"):
        set_matmul_precision("tf32")
