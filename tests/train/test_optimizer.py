"""Muon's step is the orthogonal factor; together its halves own every parameter once; and rates have their shapes."""

import math

import pytest
import torch
from torch import nn

import unmelt as um
from unmelt.train import AdamW, Muon, lr_schedule
from unmelt.train.optimizer import matrices, orthogonal


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 12, 50), (4, 60, 9)])
def test_five_newton_schulz_steps_give_a_nearly_orthogonal_factor(shape):
    """Singular vectors stay exactly what they were and singular values come to .68 to 1.21, from down to .02."""
    u, _, vh = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    values = torch.logspace(-1.5, 0, min(shape[1:]), dtype=torch.float64)
    values = values / values.norm()
    made = orthogonal(u * values @ vh)
    inner = u.mT @ made @ vh.mT
    found = inner.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(inner, torch.diag_embed(found), rtol=0, atol=1e-10)
    assert found[:, values > 0.02].min() > 0.65
    assert found.max() < 1.25


def network():
    return um.backbone.UNet(channels=1, width=8, multipliers=(1, 2), blocks=1, attention=(False, True), classes=3)


@pytest.mark.parametrize("part", [AdamW(), Muon()], ids=str)
def test_every_parameter_is_owned_by_exactly_one_optimizer(part):
    body = network()
    owned = [id(p) for one in part.of(body, 1e-3) for group in one.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(map(id, body.parameters()))


def test_matrices_are_the_large_weights_of_linear_and_convolution_layers():
    body = nn.Sequential(
        nn.Embedding(20, 16), nn.Linear(16, 32), nn.Conv2d(32, 8, 3), nn.Conv2d(8, 1, 3), nn.LayerNorm(9)
    )
    assert [tuple(each.shape) for each in matrices(body)] == [(32, 16), (8, 32, 3, 3)]


def test_muon_steps_equal_their_closed_form():
    """Two steps: momentum from the first gradient, Nesterov's look ahead, the factor, decay before."""
    body = nn.Linear(12, 20, bias=False).double()
    start, gradients = body.weight.detach().clone(), torch.randn(2, 20, 12, dtype=torch.float64)
    (optimizer,) = Muon(momentum=0.9, weight_decay=0.1).of(body, 0.01)
    memory, wanted = torch.zeros(20, 12, dtype=torch.float64), start
    for gradient in gradients:
        body.weight.grad = gradient.clone()
        optimizer.step()
        memory = 0.9 * memory + 0.1 * gradient
        factor = orthogonal((0.9 * memory + 0.1 * gradient)[None])[0]
        wanted = (1 - 0.01 * 0.1) * wanted - 0.01 * 0.2 * math.sqrt(20) * factor
    torch.testing.assert_close(body.weight.detach(), wanted, rtol=0, atol=1e-12)


def test_a_convolution_with_the_sides_of_a_linear_layer_is_updated_alike():
    line, conv = nn.Linear(16, 32, bias=False), nn.Conv2d(16, 32, 1, bias=False)
    conv.weight.data.copy_(line.weight.data[..., None, None])
    (optimizer,) = Muon().of(nn.Sequential(line, conv), 0.1)
    gradient = torch.randn(32, 16)
    line.weight.grad, conv.weight.grad = gradient, gradient[..., None, None].clone()
    optimizer.step()
    torch.testing.assert_close(conv.weight[..., 0, 0], line.weight)


def test_a_muon_step_has_the_root_mean_square_of_an_adamw_step():
    body = nn.Linear(64, 64, bias=False)
    before = body.weight.detach().clone()
    (optimizer,) = Muon().of(body, 1.0)
    body.weight.grad = torch.randn(64, 64)
    optimizer.step()
    assert (body.weight.detach() - before).square().mean().sqrt().item() == pytest.approx(0.2, rel=0.25)


def test_the_trapezoid_schedule_has_its_shape():
    """Up, level, and down in a line over the last fifth; a longer run is the same up to its fall."""
    shape = lr_schedule.Trapezoid(warmup=10, fall=0.2)
    assert [shape(step, 100) for step in (0, 4, 9, 50, 79)] == pytest.approx([0.1, 0.5, 1, 1, 1])
    assert [shape(step, 100) for step in (80, 90, 95, 100)] == pytest.approx([1, 0.5, 0.25, 0])
    assert [shape(step, 200) for step in range(80)] == [shape(step, 100) for step in range(80)]


def test_the_inverse_root_schedule_has_its_shape():
    shape = lr_schedule.InverseRoot(warmup=10, hold=100)
    assert [shape(step, 1) for step in (4, 9, 100, 400, 10_000)] == pytest.approx([0.5, 1, 1, 0.5, 0.1])


def test_the_schedule_with_restarts_falls_to_zero_in_cycles_that_grow():
    shape = lr_schedule.CosineRestarts(cycles=3, growth=2.0, warmup=0)
    assert shape.ends(700) == (100, 300, 700)
    for start, length in ((0, 100), (100, 200), (300, 400)):
        at = [start, start + length // 4, start + length // 2, start + length - 1]
        assert [shape(step, 700) for step in at] == pytest.approx([1, (2 + 2**0.5) / 4, 0.5, 0], abs=1e-3)
    warm = lr_schedule.CosineRestarts(cycles=2, growth=1.0, warmup=10)
    for step in (4, 54):
        assert warm(step, 100) == pytest.approx(0.5 * shape(4 * 2, 700), abs=0.01)
    one = lr_schedule.CosineRestarts(cycles=1, warmup=7)
    assert [one(step, 90) for step in range(7, 90)] == pytest.approx(
        [lr_schedule.Cosine(warmup=0)(step, 90) for step in range(7, 90)]
    )
    assert lr_schedule.CosineRestarts(cycles=5)(2, 3) >= 0  # more cycles than steps


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: lr_schedule.Cosine(warmup=-1),
        lambda: lr_schedule.CosineRestarts(cycles=0),
        lambda: lr_schedule.CosineRestarts(growth=0.0),
        lambda: lr_schedule.Trapezoid(fall=1.5),
        lambda: lr_schedule.InverseRoot(hold=-2),
        lambda: Muon(momentum=1.0),
        lambda: AdamW(betas=(0.9, -0.1)),
        lambda: AdamW(weight_decay=math.nan),
    ],
)
def test_invalid_settings_are_refused(wrong):
    with pytest.raises(um.UsageError):
        wrong()


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_both_halves_of_muon_decay_weights_alike(decay):
    """With no gradient to follow, a step multiplies every weight by 1 - lr * weight_decay."""
    made = network()
    before = [each.detach().clone() for each in made.parameters()]
    for each in made.parameters():
        each.grad = torch.zeros_like(each)
    for optimizer in Muon(weight_decay=decay).of(made, lr=0.1):
        optimizer.step()
    for each, was in zip(made.parameters(), before, strict=True):
        torch.testing.assert_close(each.detach(), was * (1 - 0.1 * decay), rtol=1e-6, atol=1e-7)
