"""Autoencoders: closed forms of their law, grids that invert one another, rows that keep to themselves."""

import pytest
import torch
import torch.nn.functional as F

from unmelt import config
from unmelt.codec import Autoencoder, Codec
from unmelt.codec.autoencoder import LatentDistribution
from unmelt.codec.image_stages import Coarser, Finer, grouped_mean
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds, Stream, seeded


def made(**settings):
    """An autoencoder whose every layer does something."""
    with seeded(0):
        codec = Autoencoder(**{"widths": (8, 16), "blocks": (1, 1)} | settings)
        for parameter in codec.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return codec.eval()


def images(rows=3, side=16, channels=3):
    return Stream(1).uniform((rows, channels, side, side))


def test_the_kl_and_the_law_are_those_of_gaussians():
    mean, log_variance = Stream(0).normal((2, 4, 3, 3)).double(), Stream(1).normal((2, 4, 3, 3)).double()
    found = LatentDistribution(mean, log_variance)
    exact = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (log_variance / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    assert torch.allclose(found.kl(), exact.flatten(1).sum(1), rtol=1e-12)
    draws = torch.stack([found.sample(Stream(seed)) for seed in range(4000)])
    z = (draws.mean(0) - mean) / (log_variance / 2).exp() * 4000**0.5
    assert z.abs().max() < 4.5
    spread = draws.var(0) / log_variance.exp()
    assert (spread - 1).abs().max() < 5 * (2 / 4000) ** 0.5


@pytest.mark.parametrize(
    ("settings", "factor"), [({}, 4), ({"patch": 1}, 2), ({"widths": (8, 16, 16), "blocks": (1, 0, 1)}, 8)]
)
def test_shapes_and_every_size_that_the_grids_divide(settings, factor):
    codec = made(**settings)
    assert isinstance(codec, Codec)
    assert codec.factor == factor
    for height, width in [(factor, factor), (2 * factor, 5 * factor)]:
        x = images(side=max(height, width))[..., :height, :width]
        z = codec.encode(x)
        assert z.shape[1:] == codec.latent_shape(x.shape[1:]) == (4, height // factor, width // factor)
        back = codec.decode(z)
        assert back.shape == x.shape
        assert back.min() >= 0
        assert back.max() <= 1


def test_halving_and_doubling_begin_as_averages_that_invert_one_another():
    x = Stream(0).normal((2, 8, 6, 6))
    down, up = Coarser(8, 32), Finer(32, 8)
    for layer in (down.conv, up.conv):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    assert torch.allclose(up(down(x)), x)
    narrow, wide = Coarser(8, 8), Finer(8, 8)
    for layer in (narrow.conv, wide.conv):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    assert torch.allclose(narrow(x), F.avg_pool2d(x, 2), atol=1e-6)
    assert torch.equal(wide(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.allclose(grouped_mean(x.repeat_interleave(3, 1), 8), x)


def test_latents_are_normalised_by_what_was_measured_and_decoding_undoes_it():
    codec, x = made(), images(rows=40)
    raw, plain = codec.latents(x).mean, codec.decode(codec.encode(x))
    codec.normalize(raw.mean((0, 2, 3)), raw.std((0, 2, 3)))
    z = codec.encode(x)
    assert z.mean((0, 2, 3)).abs().max() < 1e-5
    assert (z.std((0, 2, 3)) - 1).abs().max() < 1e-5
    assert torch.allclose(codec.decode(z), plain, atol=1e-5)
    with seeded(3):
        other = Autoencoder(widths=(8, 16), blocks=(1, 1))
    other.load_state_dict(codec.state_dict())
    assert torch.equal(other.encode(x), z)


def test_a_row_has_its_own_latents_and_noise_whatever_shares_its_batch():
    codec, x = made(), images(rows=4)
    for rows in ([2], [3, 0]):
        seeds = [11, 12, 13, 14]
        together = codec.encode(x, RowSeeds.of(seeds, 4))[rows]
        assert torch.allclose(
            codec.encode(x[rows], RowSeeds.of([seeds[row] for row in rows], len(rows))), together, atol=1e-5
        )
    assert not torch.allclose(codec.encode(x, Stream(0)), codec.encode(x))
    assert torch.equal(codec.encode(x, Stream(0)), codec.encode(x, Stream(0)))


def test_bfloat16_decodes_what_float32_does():
    codec, x = made(), images()
    z, precise = codec.encode(x), codec.decode(codec.encode(x))
    with torch.autocast("cpu", torch.bfloat16):
        coarse = codec.decode(z)
    assert coarse.dtype == torch.float32
    assert (coarse - precise).abs().max() < 0.05
    low = made().to(torch.bfloat16)
    assert (low.decode(z) - precise).abs().max() < 0.1
    huge = made()
    with torch.no_grad():
        for parameter in huge.decoder.parameters():
            parameter.mul_(30)
        wild = huge.to(torch.bfloat16).decode(1e4 * z)
    assert wild.isfinite().all()


def test_a_description_makes_the_same_codec():
    codec = made(channels=1, latent_channels=2)
    again = config.build(config.describe(codec))
    assert repr(again) == repr(codec)
    assert again.state_dict().keys() == codec.state_dict().keys()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"widths": ()}, "a width and a number of blocks for each grid"),
        ({"widths": (8, 16), "blocks": (1,)}, "a width and a number of blocks for each grid"),
        ({"widths": (6, 12)}, "multiples of 4"),
        ({"widths": (8, 40), "blocks": (1, 1)}, "a multiple of its neighbour"),
        ({"patch": 0}, "patch=0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        Autoencoder(**wrong)


def test_images_that_do_not_fit_and_latents_without_size_are_refused():
    codec = made()
    for shape in [(3, 16, 18), (1, 16, 16), (16, 16)]:
        with pytest.raises(UsageError, match="3 channels and sides that are multiples of 4"):
            codec.latent_shape(shape)
    with pytest.raises(UsageError, match="multiples of 4"):
        codec.encode(images(side=10))
    for sd in (torch.zeros(4), torch.full((4,), float("nan"))):
        with pytest.raises(UsageError, match="positive deviations"):
            codec.normalize(torch.zeros(4), sd)
