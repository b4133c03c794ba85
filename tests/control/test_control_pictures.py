"""Control pictures in closed form: edges of a step and of a ramp, brightness, means of boxes."""

import math

import pytest
import torch

import unmelt as um
from unmelt.errors import UsageError


def test_edges_of_a_step_are_at_the_step_whatever_its_contrast():
    x = torch.zeros(1, 1, 6, 8)
    x[..., 4:] = 1.0
    wanted = torch.zeros(1, 1, 6, 8)
    wanted[..., 3:5] = 1.0
    for contrast in (1.0, 0.25):
        assert torch.allclose(um.control.Edges()(contrast * x), wanted)
        assert torch.allclose(um.control.Edges()(contrast * x.mT), wanted.mT)
    assert (um.control.Edges()(torch.full((1, 3, 5, 5), 0.7)) < 1e-3).all()


def test_edges_are_the_size_of_the_gradient():
    """Of a smooth picture, Sobel's operator is 8 times the derivative; here of 0.3 x^2 / 2 + 0.4 x y."""
    y, x = torch.meshgrid(torch.arange(7.0), torch.arange(7.0), indexing="ij")
    picture = (0.3 * x**2 / 2 + 0.4 * x * y)[None, None]
    wanted = torch.hypot(0.3 * x + 0.4 * y, 0.4 * x)[1:-1, 1:-1]
    found = um.control.Edges()(picture)[0, 0, 1:-1, 1:-1]
    assert torch.allclose(found / found.max(), wanted / wanted.max(), atol=1e-5)


def test_gray_and_low_resolution_and_their_channels():
    x = torch.rand(2, 3, 6, 5)
    assert torch.allclose(um.control.Gray()(x)[:, 0], 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2])
    coarse = um.control.control_named("low-resolution", 3)(x)
    assert torch.allclose(coarse[:, :, :4, :4], x[:, :, :4, :4].mean((2, 3), keepdim=True).expand(-1, -1, 4, 4))
    assert torch.allclose(coarse[:, :, 4:, 4:], x[:, :, 4:, 4:].mean((2, 3), keepdim=True).expand(-1, -1, 2, 1))
    for name in um.control.KINDS:
        control = um.control.control_named(name, 3)
        assert isinstance(control, um.control.Control)
        assert control.name == name
        assert control(x).shape == (2, control.channels, 6, 5)
        assert um.config.build(um.config.describe(control)) == control
    with pytest.raises(UsageError, match=r"control='edge'; one of edges, gray, low-resolution. Try: control='edges'"):
        um.control.control_named("edge", 3)
    with pytest.raises(UsageError, match="factor=0"):
        um.control.LowResolution(channels=3, factor=0)


def test_agreement_is_the_correlation():
    a = torch.rand(3, 1, 4, 4)
    b = torch.stack([2 * a[0] + 0.1, -a[1], torch.ones(1, 4, 4)])
    assert torch.allclose(um.metric.control_agreement(a, b), torch.tensor([1.0, -1.0, 0.0]), atol=1e-6)
    x, y = torch.rand(20), torch.rand(20)
    wanted = torch.corrcoef(torch.stack([x, y]))[0, 1]
    found = um.metric.control_agreement(x.view(1, 1, 4, 5), y.view(1, 1, 4, 5))
    assert math.isclose(float(found), float(wanted), abs_tol=1e-5)
