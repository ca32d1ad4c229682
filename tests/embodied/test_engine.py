"""Flat parameters, stacked networks and precision, against plain PyTorch."""

import numpy as np
import pytest
import torch

from embodied.engine.flat import FlatParameters, TargetCopy, cosine_decay
from embodied.engine.networks import (
    mlp,
    orthogonal_mlp,
    per_seed,
    repeat_members,
    split_members,
)
from embodied.engine.precision import MODES, has_fast_bf16, set_matmul_precision
from embodied.errors import UserError


def parameters(device="cpu"):
    """Two stacked networks."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (2, 3, 4), "b": (2, 1, 4), "c": (2, 2, 5)}
    return {k: torch.randn(v, generator=generator).to(device) for k, v in shapes.items()}


def flat_parameters(rate, device="cpu"):
    return FlatParameters(parameters(device), torch.full((2, 1), rate, device=device))


def square_loss(views):
    return sum(((i + 1.0) * value - 1.0).square().sum() for i, value in enumerate(views.values()))


# --- flat parameters --------------------------------------------------------------------------


def test_the_flat_adam_is_adam_on_separate_tensors(device):
    """Each stacked network at its own rate, on one schedule."""
    rates = torch.tensor([[0.01], [0.03]], device=device)
    flat = FlatParameters(parameters(device), rates)
    plain = [
        {key: value[k].clone().requires_grad_() for key, value in parameters(device).items()}
        for k in range(2)
    ]
    adams = [torch.optim.Adam(item.values(), lr=1.0, fused=False, foreach=False) for item in plain]
    for step in range(20):
        decay = 1.0 - step / 40
        flat.step(square_loss(flat.views), decay)
        for k, adam in enumerate(adams):
            adam.param_groups[0]["lr"] = rates[k].item() * decay
            adam.zero_grad()
            square_loss(plain[k]).backward()
            adam.step()
    for k in range(2):
        for key, value in plain[k].items():
            torch.testing.assert_close(flat.views[key][k], value, rtol=1e-5, atol=1e-6)


def test_the_formula_that_a_compiler_gets_is_the_kernels(device, monkeypatch):
    by_kernel, by_formula = (flat_parameters(0.01, device) for _ in range(2))
    for _ in range(10):
        by_kernel.step(square_loss(by_kernel.views))
    monkeypatch.setattr(by_formula, "_fused", by_formula._plain)
    for _ in range(10):
        by_formula.step(square_loss(by_formula.views))
    for key, value in by_kernel.tensors("x").items():
        torch.testing.assert_close(by_formula.tensors("x")[key], value, rtol=1e-5, atol=1e-6)


def joined(views):
    return torch.cat([value.detach().flatten(1) for value in views.values()], 1)


def test_the_views_are_the_flat_buffer():
    flat = flat_parameters(0.01)
    before = joined(flat.views)
    assert torch.equal(before, flat.flat)
    flat.step(square_loss(flat.views))
    assert torch.equal(joined(flat.views), flat.flat)
    assert not torch.equal(flat.flat, before)


def test_initial_values_are_copied():
    initial = parameters()
    kept = {key: value.clone() for key, value in initial.items()}
    flat = FlatParameters(initial, torch.full((2, 1), 0.1))
    flat.step(square_loss(flat.views))
    assert all(torch.equal(initial[key], kept[key]) for key in kept)


def test_gradients_do_not_pile_up_from_step_to_step():
    flat = flat_parameters(0.0)  # nothing moves, so the gradient must repeat
    found = flat.gradient(square_loss(flat.views))
    assert found.abs().max() > 0
    for _ in range(3):
        flat.step(square_loss(flat.views))
    # Adam's average of three equal gradients, by its recursion.
    torch.testing.assert_close(flat.tensors("x")["x.exp_avg"], (1.0 - 0.9**3) * found)


def test_a_row_that_became_nan_leaves_the_other_as_it_is():
    sound, spoilt = flat_parameters(0.01), flat_parameters(0.01)
    spoilt.flat[1] = torch.nan
    for flat in (sound, spoilt):
        flat.step(square_loss(flat.views))
    assert torch.equal(spoilt.flat[0], sound.flat[0])
    assert spoilt.flat[1].isnan().all()


def test_a_target_follows_by_its_rate_and_is_not_the_source():
    flat = flat_parameters(0.1)
    target = TargetCopy(flat)
    begin = flat.flat.clone()
    flat.step(square_loss(flat.views))
    assert torch.equal(target.flat, begin)
    target.follow(flat, torch.tensor([[0.25], [0.5]]))
    rate = torch.tensor([[0.25], [0.5]])
    torch.testing.assert_close(target.flat, (1.0 - rate) * begin + rate * flat.flat)
    assert torch.equal(joined(target.views), target.flat)
    assert [v.shape for v in target.views.values()] == [v.shape for v in flat.views.values()]


def test_the_cosine_falls_from_one_to_zero_and_stays_there():
    found = [cosine_decay(torch.tensor(step), 4).item() for step in (0, 1, 2, 4, 9)]
    assert found == pytest.approx([1.0, 0.5 + 0.5 * np.sqrt(0.5), 0.5, 0.0, 0.0], abs=1e-6)


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


@pytest.mark.parametrize("value", [0.5, 3])
def test_one_hyper_parameter_is_every_seeds(value):
    found = per_seed(value, 3, dtype=torch.float64)
    assert torch.equal(found, torch.full((3, 1), float(value), dtype=torch.float64))


def test_a_list_of_hyper_parameters_is_one_per_seed():
    assert torch.equal(per_seed((0.7, 0.9), 2), torch.tensor([[0.7], [0.9]]))
    with pytest.raises(UserError, match="has 2 values for 3 stacked seeds; give one") as caught:
        per_seed((0.7, 0.9), 3)
    assert "\n" not in str(caught.value)


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
