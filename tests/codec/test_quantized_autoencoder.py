"""Tokens of images: every point of the grid is reached and counted once, and rounding passes the gradient on."""

import itertools

import pytest
import torch

from unmelt import config
from unmelt.codec import Codec, QuantizedAutoencoder
from unmelt.codec.finite_scalar import SLACK, FiniteScalar
from unmelt.errors import UsageError
from unmelt.rng import Stream, seeded

LEVELS = [(8, 5, 5, 5), (2,), (3, 2), (7, 4, 6)]


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_every_token_is_one_point_and_every_point_one_token(levels):
    quantizer = FiniteScalar(levels)
    tokens = torch.arange(quantizer.vocabulary)[:, None]
    points = quantizer.points(tokens)
    assert len(points.unique(dim=0)) == quantizer.vocabulary
    assert points.abs().max() <= 1
    assert torch.equal(quantizer.tokens(points), tokens)
    axes = [[(digit - level // 2) / (level // 2) for digit in range(level)] for level in levels]
    grid = {tuple(round(each, 5) for each in point) for point in itertools.product(*axes)}
    assert {tuple(round(each, 5) for each in row) for row in points[:, :, 0].tolist()} == grid


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_all_levels_are_reached_in_order_and_zero_is_rounded_to_zero(levels):
    quantizer = FiniteScalar(levels)
    z = torch.linspace(-12, 12, 4001)[:, None, None].expand(-1, len(levels), 1)
    found = quantizer.quantize(z)
    for dim, level in enumerate(levels):
        assert len(found[:, dim].unique()) == level
    assert (found.diff(dim=0) >= 0).all()
    assert torch.allclose(quantizer.points(quantizer.tokens(found)), found, atol=1e-6)
    assert quantizer.quantize(torch.zeros(1, len(levels), 1)).abs().max() < 1e-6


def test_the_gradient_is_that_of_what_is_rounded():
    levels = (8, 5)
    z = Stream(0).normal((4, 2, 3)).double().requires_grad_()
    FiniteScalar(levels).quantize(z).sum().backward()
    for dim, level in enumerate(levels):
        half, offset = (1 + SLACK) * (level - 1) / 2, 0.5 * (level % 2 == 0)
        shift = torch.atanh(torch.tensor(offset / half, dtype=torch.float64))
        exact = half * (1 - torch.tanh(z[:, dim].detach() + shift) ** 2) / (level // 2)
        assert torch.allclose(z.grad[:, dim], exact, rtol=1e-6)


def made(**settings):
    with seeded(0):
        codec = QuantizedAutoencoder(**{"widths": (8, 16), "blocks": (1, 1)} | settings)
        for parameter in codec.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return codec.eval()


def test_images_become_tokens_and_tokens_images():
    codec = made()
    assert isinstance(codec, Codec)
    assert codec.vocabulary == 1000
    x = Stream(1).uniform((3, 3, 16, 24))
    tokens = codec.encode(x)
    assert tokens.shape[1:] == codec.latent_shape(x.shape[1:]) == (4, 6)
    assert tokens.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < codec.vocabulary
    assert len(tokens.unique()) > 20
    back = codec.decode(tokens)
    assert back.shape == x.shape
    assert torch.allclose(back, codec.reconstruct(codec.latents(x)).clamp(0, 1), atol=1e-6)
    assert torch.equal(codec.encode(x[[2]]), tokens[[2]])


def test_the_encoder_learns_through_the_rounding():
    codec = made()
    codec.reconstruct(codec.latents(Stream(1).uniform((2, 3, 8, 8)))).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in codec.parameters())


def test_a_description_makes_the_same_codec():
    codec = made(levels=(4, 4), channels=1)
    again = config.build(config.describe(codec))
    assert repr(again) == repr(codec)
    again.load_state_dict(codec.state_dict())
    x = Stream(1).uniform((2, 1, 8, 8))
    assert torch.equal(again.eval().encode(x), codec.encode(x))


@pytest.mark.parametrize("levels", [(), (1,), (8, 0)])
def test_levels_without_choice_are_refused(levels):
    with pytest.raises(UsageError, match="2 or more levels in each dimension"):
        QuantizedAutoencoder(levels=levels)
    with pytest.raises(UsageError, match="multiples of 4"):
        made().encode(torch.zeros(1, 3, 10, 8))
